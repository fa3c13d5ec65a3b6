"""Backward simulation: the student stands where its own drawing leads."""

import itertools

import numpy as np
import paddle
import pytest
from gaussian import CRITIC, STUDENT, FakeNetworks, Gaussian, Linear, config, gradient, scene, uniform_grid

from fastdiffusers.distillation.simulation import simulate
from fastdiffusers.distillation.terms.dmd import DistributionMatching

GRID = uniform_grid(12, 3)
EDGES = GRID.edges.astype(np.float64)
DATA = Gaussian(0.3, 0.7)


def roll_out(batch, k: int, sampler: str) -> np.ndarray:
    """By hand: from noise down k levels, with v = 0.4·x − 0.2."""
    rng = np.random.default_rng(1)
    rng.integers(3)
    x = batch.noise.numpy().astype(np.float64)
    for now, end in itertools.pairwise(EDGES[: k + 1]):
        v = 0.4 * x - 0.2
        if sampler == "euler":
            x = x + (end - now) * v
        else:
            x = (1 - end) * (x - now * v) + end * rng.standard_normal(x.shape, dtype=np.float32)
    return x


@pytest.mark.parametrize("sampler", ["euler", "lcm"])
def test_it_goes_from_noise_to_a_level_by_the_rule_of_drawing(sampler):
    networks = FakeNetworks(student=Linear(STUDENT, 0.4, -0.2))
    ends = set()
    for common in range(12):
        batch = scene(networks, GRID, np.zeros(4, int), data=DATA, common=np.random.default_rng(common))
        k = int(np.random.default_rng(common).integers(3))
        ends.add(k)
        batch.rng.integers(3)  # as `roll_out` does
        found = simulate(batch, 3, sampler)
        assert (found.n == 4 * k).all() and found.x.stop_gradient
        np.testing.assert_allclose(found.sigma.numpy(), EDGES[k], rtol=1e-6)
        np.testing.assert_allclose(found.x.numpy(), roll_out(batch, k, sampler), atol=2e-5)
    assert ends == {0, 1, 2}


def test_the_level_is_one_for_all_and_without_common_chance_from_the_scenes_own():
    networks = FakeNetworks(student=Linear(STUDENT, 0.4, -0.2))
    found = simulate(scene(networks, GRID, np.arange(6)), 3, "euler")
    assert len(set(found.n.tolist())) == 1
    assert int(found.n[0]) == 4 * int(np.random.default_rng(1).integers(3))


def test_fewer_steps_than_phases_stop_where_they_draw():
    networks = FakeNetworks(student=Linear(STUDENT, 0.4, -0.2))
    stops = {int(simulate(scene(networks, GRID, [0], seed=seed), 2, "euler").n[0]) for seed in range(20)}
    assert stops == {0, 6}


def test_the_gradient_on_simulated_states_is_the_closed_form():
    """x̂₀ = x_k − s_k·v, so ∂x̂₀/∂b = −s_k and ∂x̂₀/∂a = −s_k·x_k; scores of Gaussians are known; no gradient comes
    through the way to x_k."""
    student = Linear(STUDENT, 0.4, -0.2)
    fake = Gaussian(-0.2, 0.4)
    networks = FakeNetworks(teacher=DATA.prediction, student=student, **{CRITIC: fake.prediction})
    settings = config("dmd", dmd_on="clean", dmd_critic=True, dmd_simulation=True)
    batch = scene(networks, GRID, np.zeros(6, int), data=DATA, common=np.random.default_rng(5))
    k = int(np.random.default_rng(5).integers(3))
    assert k > 0
    value, metrics = DistributionMatching(settings, networks).loss(batch)
    value.backward()

    rng = np.random.default_rng(1)
    x = batch.noise.numpy().astype(np.float64)
    for now, end in itertools.pairwise(EDGES[: k + 1]):
        x = x + (end - now) * (0.4 * x - 0.2)
    clean = x - EDGES[k] * (0.4 * x - 0.2)
    level = (1 - rng.uniform(0.02, 0.98, 6))[:, None, None]
    noisy = (1 - level) * clean + level * rng.standard_normal(x.shape, dtype=np.float32)

    def posterior(data: Gaussian) -> np.ndarray:
        share = (1 - level) * data.s**2 / ((1 - level) ** 2 * data.s**2 + level**2)
        return data.m + share * (noisy - (1 - level) * data.m)

    real, wrong = posterior(DATA), posterior(fake)
    expected = (wrong - real) / (np.abs(clean - real).mean(axis=(1, 2), keepdims=True) + 1e-5)
    assert float(value.item()) == pytest.approx(0.5 * (expected**2).mean(), rel=1e-3)
    gap = 1 - ((clean - wrong) ** 2).mean() / ((clean - real) ** 2).mean()
    assert metrics["critic_gap"] == pytest.approx(gap, rel=1e-3, abs=1e-4)
    found = gradient(student.parameters)
    assert found["b"] == pytest.approx((expected * -EDGES[k]).mean(), rel=2e-3, abs=1e-5)
    assert found["a"] == pytest.approx((expected * -EDGES[k] * x).mean(), rel=2e-3, abs=1e-5)


def test_the_critic_learns_on_simulated_states_too():
    """The least loss of v = a·x + b + c·σ is at the score of what the student draws, not of noised data."""
    drawn = Gaussian(-0.6, 0.5)
    jump = drawn.prediction  # from pure noise in one step: x̂₀ = E[x₀ | noise] = −0.6 always
    pulls = {}
    for name, mean in (("of the drawn", -0.6), ("of the data", 0.3)):
        critic = Linear(CRITIC, 0.0, 0.0)
        ideal = Gaussian(mean, 1e-3)
        networks = FakeNetworks(
            student=jump,
            **{CRITIC: lambda x, level, told, i=ideal, c=critic: i.prediction(x, level) + c(x, level, told)},
        )
        term = DistributionMatching(
            config("dmd", dmd_on="clean", dmd_critic=True, dmd_simulation=True, student_steps=1), networks
        )
        term.opponent_loss(scene(networks, GRID, np.full(64, 9), data=DATA, shape=(100, 3)))[0].backward()
        pulls[name] = max(map(abs, gradient(critic.parameters).values()))
    assert pulls["of the drawn"] < 0.1 * pulls["of the data"]
    assert paddle.is_grad_enabled()
