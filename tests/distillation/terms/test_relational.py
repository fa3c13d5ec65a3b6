"""The relational term against its formula, and that it undoes the shrinking of a regression."""

import numpy as np
import paddle
import pytest
from gaussian import STUDENT, FakeNetworks, Gaussian, Linear, config, gradient, scene, uniform_grid

from fastdiffusers.distillation.grid import PhaseGrid
from fastdiffusers.distillation.process import LatentConsistency, VariancePreserving, scaled_linear
from fastdiffusers.distillation.terms.consistency import Consistency
from fastdiffusers.distillation.terms.relational import Relational, pairs_of
from fastdiffusers.errors import InputError

GRID = uniform_grid(12, 3)
DATA = Gaussian()
N = np.array([0, 4, 8, 0, 4, 8])
A, B, C = 0.4, -0.2, 0.3


def recipe(**changes):
    settings = {"skip": 12, "trajectories": True, "examples": None, "seeds_per_prompt": 4, "batch": 8, **changes}
    return config("consistency", "relational", **settings)


def states_of(count: int) -> np.ndarray:
    return np.random.default_rng(3).standard_normal((count, 13, 5, 3)).astype(np.float32)


def huber(error: np.ndarray) -> np.ndarray:
    return np.where(np.abs(error) < 1, error**2 / 2, np.abs(error) - 0.5)


def by_hand(states: np.ndarray, a: float, b: float, c: float, group: int) -> tuple[float, float]:
    """Eq. 6 and 7 of the paper in float64, and the mean distance relative to the teacher's."""
    states, levels = states.astype(np.float64), GRID.levels.astype(np.float64)
    rows, end = np.arange(len(N)), (N // 4 + 1) * 4
    x, y, now, then = states[rows, N], states[rows, end], *(levels[at][:, None, None] for at in (N, end))
    theirs = x - now * (x - y) / (now - then)
    own = x - now * (a * x + b + c * now)
    pairs = [(i, j) for i in rows for j in rows if i < j and i // group == j // group]
    d, t = (np.array([np.linalg.norm(z[i] - z[j]) for i, j in pairs]) for z in (own, theirs))
    return float(huber((d - t) / t.mean()).mean()), float(d.mean() / t.mean())


@pytest.mark.parametrize("group", [2, 3, 6])
def test_value_and_gradient_are_those_of_the_formula(group):
    """The gradient by central differences of the formula in float64."""
    states = states_of(len(N))
    student = Linear(STUDENT, A, B, C)
    networks = FakeNetworks(student=student)
    batch = scene(networks, GRID, N, states=states)
    value, metrics = Relational(recipe(seeds_per_prompt=group, batch=12), networks).loss(batch)
    expected, apart = by_hand(states, A, B, C, group)
    assert float(value.item()) == pytest.approx(expected, rel=1e-5)
    assert metrics == {"apart": pytest.approx(apart, rel=1e-5)}
    value.backward()
    h, at = 1e-5, np.array([A, B, C])
    slopes = {
        name: (by_hand(states, *(at + step), group)[0] - by_hand(states, *(at - step), group)[0]) / (2 * h)
        for name, step in zip("abc", h * np.eye(3), strict=True)
    }
    assert gradient(student.parameters) == pytest.approx(slopes, rel=1e-3, abs=1e-6)


@pytest.mark.parametrize("process", [VariancePreserving(scaled_linear()), LatentConsistency(scaled_linear())])
def test_an_exact_student_of_another_process_has_no_loss(process):
    """x̂₀ of the student and of what it is to reach are found alike."""
    grid = PhaseGrid(np.array([999, 749, 499, 249, -1], np.float32), 1)
    states = np.random.default_rng(3).standard_normal((4, 5, 5, 3)).astype(np.float32)

    def exact(x, level, told):
        full = paddle.full([4], -1.0)
        return process.prediction_between(x, level, paddle.to_tensor(states[:, 4]), full)

    networks = FakeNetworks(student=exact)
    batch = scene(networks, grid, np.zeros(4, int), states=states, process=process)
    value, metrics = Relational(recipe(), networks).loss(batch)
    assert float(value.item()) < 1e-9
    assert metrics["apart"] == pytest.approx(1, rel=1e-5)


def test_distances_are_those_of_clean_latents_for_predictions_of_noise():
    """x̂₀ = (x − √(1 − ᾱ)·ε̂)/√ᾱ on both sides, by hand."""
    process = VariancePreserving(scaled_linear())
    grid = PhaseGrid(np.array([999, 749, 499, 249, -1], np.float32), 2)
    states = np.random.default_rng(3).standard_normal((4, 5, 5, 3)).astype(np.float32)
    networks = FakeNetworks(student=lambda x, level, told: 0.3 * x)
    batch = scene(networks, grid, np.full(4, 2), states=states, process=process)
    _, metrics = Relational(recipe(), networks).loss(batch)
    bar = float(np.cumprod(1 - scaled_linear().astype(np.float64))[499])
    x, goal = (
        states[:, 2].astype(np.float64),
        states[:, 4].astype(np.float64),
    )  # the last phase ends at the clean latent
    own = (x - (1 - bar) ** 0.5 * 0.3 * x) / bar**0.5
    d, t = (np.mean([np.linalg.norm(z[i] - z[j]) for i in range(4) for j in range(i)]) for z in (own, goal))
    assert metrics["apart"] == pytest.approx(d / t, rel=1e-4)


def test_it_undoes_the_shrinking_of_squared_errors():
    """A student v = a·x + b that can tell a part of the target only: consistency alone has its distances too small by
    √r², the share of variance explained; with the term they come back."""
    rng = np.random.default_rng(0)
    count, told = 64, 0.6
    noise = rng.standard_normal((count, 5, 3))
    states = np.zeros((count, 13, 5, 3), np.float32)
    states[:, 0] = noise
    states[:, 12] = told**0.5 * noise + (1 - told) ** 0.5 * rng.standard_normal(noise.shape)
    grid = uniform_grid(12, 1)

    def apart(weight: float) -> float:
        student = Linear(STUDENT, 0.0, 0.0)
        networks = FakeNetworks(student=student)
        settings = recipe(phases=1, relational_weight=weight)
        terms = [Consistency(settings, networks), Relational(settings, networks)]
        for _ in range(60):
            batch = scene(networks, grid, np.zeros(count, int), states=states)
            told_apart = terms[1].loss(batch)
            (terms[0].loss(batch)[0] + weight * told_apart[0]).backward()
            for parameter in student.parameters.values():
                slope = parameter.grad
                if slope is not None:
                    parameter.set_value(parameter - 0.2 * slope)
                parameter.clear_gradient(False)
        return told_apart[1]["apart"]

    assert apart(0.0) == pytest.approx(told**0.5, abs=0.03)
    assert apart(0.0) < apart(2.0) < apart(4.0) < 1.03
    assert apart(4.0) > 0.9


def test_pairs_are_those_of_one_prompt_also_where_processes_share_a_batch():
    assert pairs_of(4, 2).T.tolist() == [[0, 1], [2, 3]]
    assert pairs_of(3, 3).T.tolist() == [[0, 1], [0, 2], [1, 2]]
    whole = {tuple(pair) for pair in pairs_of(16, 4).T.tolist()}
    parts = {(i + first, j + first) for first in (0, 8) for i, j in pairs_of(8, 4).T.tolist()}
    assert parts == whole and len(whole) == 24


def test_a_prompt_cut_in_two_is_refused():
    networks = FakeNetworks(student=Linear(STUDENT, A, B))
    with pytest.raises(InputError, match=r"^a process has 6 examples .* compares 4 of each .* multiple of 4 for"):
        Relational(recipe(), networks).loss(scene(networks, GRID, N, states=states_of(6)))


def test_equal_examples_have_a_gradient_that_is_a_number():
    states = np.repeat(states_of(1), 2, axis=0)
    states[1, 4] += 1
    student = Linear(STUDENT, A, B)
    networks = FakeNetworks(student=student)
    settings = recipe(seeds_per_prompt=2)
    Relational(settings, networks).loss(scene(networks, GRID, [0, 0], states=states))[0].backward()
    assert all(np.isfinite(value) for value in gradient(student.parameters).values())
