"""Regression to cached trajectories."""

import numpy as np
import paddle
import pytest
from gaussian import STUDENT, FakeNetworks, Gaussian, Linear, config, gradient, scene, uniform_grid

from fastdiffusers.distillation.terms.kd import Regression
from fastdiffusers.errors import InputError

GRID = uniform_grid(12, 3)
DATA = Gaussian()


def states_of(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, 13, 5, 3)).astype(np.float32)


def test_the_target_leads_from_one_edge_to_the_next():
    """v* = (x_{s_m} − x_{s_{m+1}})/(s_m − s_{m+1}), m drawn for each example."""
    student, count = Linear(STUDENT, 0.4, -0.2, 0.1), 12
    networks = FakeNetworks(student=student)
    states = states_of(count)
    edges = states[:, ::4]
    batch = scene(networks, GRID, np.zeros(count, int), states=states)
    value, _ = Regression(config("kd", trajectories=True), networks).loss(batch)
    value.backward()
    phase = np.random.default_rng(1).integers(3, size=count)
    assert set(phase) == {0, 1, 2}
    s = GRID.levels[::4].astype(np.float64)
    here, there = (edges[np.arange(count), m].astype(np.float64) for m in (phase, phase + 1))
    level = s[phase][:, None, None]
    target = (here - there) / (level - s[phase + 1][:, None, None])
    error = 0.4 * here - 0.2 + 0.1 * level - target
    assert float(value.item()) == pytest.approx((error**2).mean(), rel=1e-4)
    expected = {"a": (2 * error * here).mean(), "b": (2 * error).mean(), "c": (2 * error * level).mean()}
    assert gradient(student.parameters) == pytest.approx(expected, rel=1e-3)


def test_zero_for_the_exact_student_on_exact_trajectories():
    noise = paddle.to_tensor(np.random.default_rng(0).standard_normal((16, 5, 3)).astype(np.float32))
    one = paddle.ones([16])
    states = [DATA.solution(noise, one, one * float(level)) for level in GRID.levels]
    networks = FakeNetworks(student=DATA.jump(GRID))
    batch = scene(networks, GRID, np.zeros(16, int), states=paddle.stack(states, axis=1).numpy())
    assert float(Regression(config("kd", trajectories=True), networks).loss(batch)[0].item()) < 1e-10


def test_without_trajectories_it_says_what_to_set():
    networks = FakeNetworks(student=DATA.prediction)
    with pytest.raises(InputError, match=r"^the teacher's states are not known; set trajectories=true"):
        Regression(config("kd", trajectories=True), networks).loss(scene(networks, GRID, [0]))
