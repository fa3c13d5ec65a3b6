"""How a student draws: its number of steps, and LCM's way back to noise."""

import numpy as np
import paddle
import pytest
from gaussian import Gaussian

from fastdiffusers.distillation.samplers import EULER, LCM, FewSteps, fresh_noise, picture_keys
from fastdiffusers.schedulers import FlowMatchEulerDiscreteScheduler

INNER = FlowMatchEulerDiscreteScheduler(FlowMatchEulerDiscreteScheduler.Config(use_dynamic_shifting=True, shift=3.0))
DATA = Gaussian()


def start(count: int, seed: int = 0, width: int = 3) -> paddle.Tensor:
    return paddle.to_tensor(np.random.default_rng(seed).standard_normal((count, 64, width)).astype(np.float32))


def clean_student(x: paddle.Tensor, sigma: float) -> paddle.Tensor:
    """The perfect student of one phase: jumps by the exact solution to σ = 0."""
    level = paddle.full([x.shape[0]], sigma, dtype="float32")
    return (x - DATA.solution(x, level, level * 0)) / sigma


def draw(scheduler: FewSteps, x: paddle.Tensor, student=clean_student) -> paddle.Tensor:
    scheduler.set_image_timesteps(64)
    for i, sigma in enumerate(scheduler.sigmas[:-1]):
        x = scheduler.step(student(x, float(sigma)), i, x)
    return x


def test_the_number_of_steps_is_its_own_and_given_levels_are_kept():
    scheduler = FewSteps(INNER, 4)
    scheduler.set_image_timesteps(64, 28)
    plain = FlowMatchEulerDiscreteScheduler(INNER.config)
    plain.set_image_timesteps(64, 4)
    np.testing.assert_array_equal(scheduler.sigmas, plain.sigmas)
    scheduler.set_image_timesteps(64, None, [1.0, 0.5])
    assert len(scheduler.sigmas) == 3
    assert not len(INNER.sigmas)


def test_eulers_step_is_the_inner_schedulers():
    scheduler, plain = FewSteps(INNER, 4, EULER), FlowMatchEulerDiscreteScheduler(INNER.config)
    for one in (scheduler, plain):
        one.set_image_timesteps(64, 4)
    x, v = start(2), start(2, 1)
    np.testing.assert_array_equal(scheduler.step(v, 1, x).numpy(), plain.step(v, 1, x).numpy())


def test_lcms_step_goes_to_the_picture_and_back_to_noise():
    scheduler = FewSteps(INNER, 4, LCM)
    scheduler.set_image_timesteps(64)
    x, v = start(2), start(2, 1)
    here, there = (float(s) for s in scheduler.sigmas[:2])
    noise = fresh_noise(picture_keys(x.numpy()), 0, x.shape[1:])
    expected = (1 - there) * (x - here * v).numpy() + there * noise
    np.testing.assert_allclose(scheduler.step(v, 0, x).numpy(), expected, atol=1e-6)
    last = scheduler.step(v, 3, x).numpy()  # no noise on the picture
    np.testing.assert_allclose(last, (x - float(scheduler.sigmas[3]) * v).numpy(), atol=1e-6)


@pytest.mark.parametrize("sampler", [EULER, LCM])
def test_a_perfect_student_draws_from_the_datas_distribution(sampler):
    """For LCM in any number of steps, for Euler in the one that its single phase is."""
    steps = 4 if sampler == LCM else 1
    x = draw(FewSteps(INNER, steps, sampler), start(256)).numpy()
    assert x.mean() == pytest.approx(DATA.m, abs=0.01) and x.std() == pytest.approx(DATA.s, rel=0.01)


def test_a_picture_does_not_depend_on_its_neighbours_even_if_their_bits_do():
    """A network in a larger batch rounds otherwise; the noise must not be another for that."""

    def rounded(x, sigma):
        return clean_student(x, sigma) * (1 + 1e-6 * x.shape[0])

    together = draw(FewSteps(INNER, 4, LCM), start(3), rounded).numpy()
    for row in range(3):
        alone = draw(FewSteps(INNER, 4, LCM), start(3)[row : row + 1], rounded).numpy()
        np.testing.assert_allclose(alone[0], together[row], atol=1e-4)


def test_noise_differs_between_pictures_and_steps_and_comes_again():
    keys = picture_keys(start(2).numpy())
    first = fresh_noise(keys, 0, (64, 3))
    assert (first[0] != first[1]).all() and (fresh_noise(keys, 1, (64, 3)) != first).all()
    np.testing.assert_array_equal(fresh_noise(keys, 0, (64, 3)), first)
    assert first.std() == pytest.approx(1, abs=0.1)
    scheduler = FewSteps(INNER, 4, LCM)
    once, again = (draw(scheduler, start(2)).numpy() for _ in range(2))
    np.testing.assert_array_equal(once, again)


def test_a_new_picture_has_noise_of_its_own():
    used = FewSteps(INNER, 4, LCM)
    draw(used, start(2))
    np.testing.assert_array_equal(draw(used, start(1, 7)).numpy(), draw(FewSteps(INNER, 4, LCM), start(1, 7)).numpy())
