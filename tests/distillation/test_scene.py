"""Where examples stand, and what the teacher says there with guidance."""

import numpy as np
import paddle
import pytest
from gaussian import FakeNetworks, Gaussian, Linear, scene, told, uniform_grid

from fastdiffusers.distillation.networks import STUDENT, TEACHER

GRID = uniform_grid(12, 3)
N = np.array([0, 3, 4, 11])
DATA = Gaussian()


def test_levels_of_the_examples():
    batch = scene(FakeNetworks(student=DATA.prediction), GRID, N)
    levels = GRID.levels
    for found, expected in (
        (batch.sigma, levels[N]),
        (batch.start, levels[[0, 0, 4, 8]]),
        (batch.end, levels[[4, 4, 8, 12]]),
    ):
        assert found.dtype == paddle.float32
        np.testing.assert_array_equal(found.numpy(), expected)
    share = batch.sigma.numpy()[:, None, None]
    np.testing.assert_allclose(
        batch.x.numpy(), (1 - share) * batch.clean.numpy() + share * batch.noise.numpy(), atol=1e-6
    )


def test_the_student_is_asked_once_and_its_landing_is_the_step_to_the_end():
    student = Linear(STUDENT, 0.4, -0.2)
    networks = FakeNetworks(student=student)
    batch = scene(networks, GRID, N)
    way = (batch.end - batch.sigma).reshape([-1, 1, 1])
    for _ in range(2):
        np.testing.assert_allclose(batch.landing.numpy(), (batch.x + way * batch.prediction).numpy(), atol=1e-6)
    assert len(networks.asked) == 1
    batch.landing.sum().backward()
    assert float(student.b.grad.item()) == pytest.approx(float(way.sum().item()) * 15, rel=1e-5)


def test_true_guidance_is_the_combination_of_two_predictions():
    """v(∅) + ω·(v(c) − v(∅)), ω for each example; 1 is the conditional alone, 0 the unconditional."""
    given, empty = told(4), told(4)
    says = {id(given): 2.0, id(empty): -1.0}
    networks = FakeNetworks(teacher=lambda x, level, who: paddle.full_like(x, says[id(who)]))
    scale = paddle.to_tensor(np.float32([0.0, 1.0, 2.0, 5.5]))
    batch = scene(networks, GRID, N, teacher=given, empty=empty, scale=scale)
    found = batch.by_teacher(batch.x, batch.sigma)
    np.testing.assert_allclose(found.numpy()[:, 0, 0], -1 + np.array([0, 1, 2, 5.5]) * 3)
    assert [who for _, who, _ in networks.asked] == [given, empty]


def test_embedded_guidance_is_one_evaluation():
    networks = FakeNetworks(teacher=DATA.prediction)
    batch = scene(networks, GRID, N, teacher=told(4, 3.5))
    batch.by_teacher(batch.x, batch.sigma)
    ((role, who, _),) = networks.asked
    assert role == TEACHER and who.guidance.numpy().tolist() == [3.5] * 4


def test_the_teacher_gives_no_gradient():
    x = paddle.ones([4, 5, 3])
    x.stop_gradient = False
    batch = scene(FakeNetworks(teacher=DATA.prediction), GRID, N)
    assert batch.by_teacher(x, batch.sigma).stop_gradient


def test_chance_comes_from_the_scenes_generator_alone():
    a, b = (scene(FakeNetworks(), GRID, N) for _ in range(2))
    paddle.seed(1)
    first = a.normal().numpy(), a.between(a.end, a.start).numpy()
    paddle.seed(2)
    np.random.seed(3)
    second = b.normal().numpy(), b.between(b.end, b.start).numpy()
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, other)
    assert (a.normal().numpy() != first[0]).any()


def test_between_is_uniform_but_for_the_lowest_part():
    batch = scene(FakeNetworks(), GRID, np.zeros(20_000, int))
    low, high = batch.level(np.full(20_000, 8)), batch.level(np.full(20_000, 4))
    found = batch.between(low, high).numpy()
    least, most = GRID.levels[8], GRID.levels[4]
    assert found.min() >= least + 0.0199 * (most - least) and found.max() <= most
    share = (found - least) / (most - least)
    assert share.mean() == pytest.approx(0.51, abs=0.01) and share.std() == pytest.approx(0.98 / np.sqrt(12), abs=0.01)
