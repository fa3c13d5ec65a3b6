"""The reflow term: zero where the way down is straight, its formula elsewhere."""

import numpy as np
import paddle
import pytest
from gaussian import STUDENT, FakeNetworks, Linear, config, gradient, scene, uniform_grid

from fastdiffusers.distillation.terms.reflow import Reflow

GRID = uniform_grid(12, 3)
N = np.array([0, 2, 5, 8, 9, 11])


def wide(values) -> np.ndarray:
    return np.asarray(values, np.float64)[:, None, None]


def test_zero_for_a_student_that_always_comes_down_to_the_same_place():
    """v = (x − K)/(σ − s): from wherever within the phase, straight to K."""

    def straight(x, level, told):
        ends = GRID.levels[4::4]
        end = paddle.to_tensor(np.array([max(e for e in ends if e < value) for value in level.numpy()], np.float32))
        return (x - 0.25) / (level - end).reshape([-1, 1, 1])

    networks = FakeNetworks(student=straight)
    assert float(Reflow(config("reflow"), networks).loss(scene(networks, GRID, N))[0].item()) < 1e-10


@pytest.mark.parametrize("loss", ["l2", "huber"])
def test_value_and_gradient_are_those_of_the_formula(loss):
    """d(x_a + (s − a)·v_θ(x_a), sg x_s), x_a being x_s re-noised to a: the jump begins where the noise was added."""
    student = Linear(STUDENT, 0.4, -0.2, 0.1)
    networks = FakeNetworks(student=student)
    batch = scene(networks, GRID, N)
    value, metrics = Reflow(config("reflow", loss=loss, huber_c=0.01), networks).loss(batch)
    value.backward()
    levels = GRID.levels.astype(np.float64)
    now, end, start = levels[N], levels[(N // 4 + 1) * 4], levels[N // 4 * 4]
    x = (1 - wide(now)) * batch.clean.numpy() + wide(now) * batch.noise.numpy()
    landing = x + wide(end - now) * (0.4 * x - 0.2 + 0.1 * wide(now))
    rng = np.random.default_rng(1)
    level = end + rng.uniform(0.02, 1.0, len(N)) * (start - end)
    share = wide((1 - level) / (1 - end))
    noise = np.sqrt(wide(level) ** 2 - (share * wide(end)) ** 2)
    noisy = share * landing + noise * rng.standard_normal(x.shape, dtype=np.float32)
    error = noisy + wide(end - level) * (0.4 * noisy - 0.2 + 0.1 * wide(level)) - landing
    root = np.sqrt(error**2 + 0.01**2)
    assert metrics == {}
    assert float(value.item()) == pytest.approx((error**2 if loss == "l2" else root - 0.01).mean(), rel=1e-3)
    slope = (2 * error if loss == "l2" else error / root) * wide(end - level)  # the landing has no gradient
    expected = {"a": (slope * noisy).mean(), "b": slope.mean(), "c": (slope * wide(level)).mean()}
    assert gradient(student.parameters) == pytest.approx(expected, rel=2e-3)
    asked = [found for _, _, found in networks.asked]
    np.testing.assert_allclose(asked[1], level, rtol=1e-6)  # the student is told the level of the noise
