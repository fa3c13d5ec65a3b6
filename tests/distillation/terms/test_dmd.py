"""Distribution matching between Gaussians, whose denoised means are known."""

import numpy as np
import paddle
import pytest
from gaussian import CRITIC, STUDENT, FakeNetworks, Gaussian, Linear, config, gradient, scene, uniform_grid

from fastdiffusers.distillation.terms.dmd import DistributionMatching

GRID = uniform_grid(12, 3)
N = np.array([0, 2, 5, 8, 9, 11])
REAL, FAKE = Gaussian(0.3, 0.7), Gaussian(-0.2, 0.4)


def wide(values) -> np.ndarray:
    return np.asarray(values, np.float64)[:, None, None]


def posterior(data: Gaussian, x: np.ndarray, level: np.ndarray) -> np.ndarray:
    """E[x₀ | x_σ] = m + (1 − σ)·s²·(x − (1 − σ)·m)/((1 − σ)²·s² + σ²), in float64."""
    share = wide(1 - level)
    return data.m + share * data.s**2 / (share**2 * data.s**2 + wide(level) ** 2) * (x - share * data.m)


def networks(**roles):
    return FakeNetworks(teacher=REAL.prediction, **{"student": Linear(STUDENT, 0.4, -0.2), **roles})


def drawn(batch, on: str) -> tuple[np.ndarray, np.ndarray]:
    """The level and the noise that the term draws, by the same generator."""
    rng = np.random.default_rng(1)
    if on == "phase":
        low, high = (GRID.levels.astype(np.float64)[index] for index in ((N // 4 + 1) * 4, N // 4 * 4))
        level = low + rng.uniform(0.02, 1.0, len(N)) * (high - low)
    else:
        level = 1 - rng.uniform(0.02, 0.98, len(N))  # the grid is uniform: a share of it is a level
    return level, rng.standard_normal(batch.clean.shape, dtype=np.float32)


@pytest.mark.parametrize("on", ["phase", "clean"])
@pytest.mark.parametrize("critic", [False, True])
def test_the_gradient_is_the_difference_of_denoised_means_over_the_mean_distance(on, critic):
    student = Linear(STUDENT, 0.4, -0.2)
    fakes = networks(student=student, **({CRITIC: FAKE.prediction} if critic else {}))
    term = DistributionMatching(config("dmd", dmd_on=on, dmd_critic=critic), fakes)
    batch = scene(fakes, GRID, N, data=REAL)
    value, metrics = term.loss(batch)
    value.backward()

    now = GRID.levels[N].astype(np.float64)
    end = GRID.levels[(N // 4 + 1) * 4].astype(np.float64) if on == "phase" else np.zeros(len(N))
    x = (1 - wide(now)) * batch.clean.numpy() + wide(now) * batch.noise.numpy()
    v = 0.4 * x - 0.2
    made, clean = x + wide(end - now) * v, x - wide(now) * v
    level, z = drawn(batch, on)
    share = wide((1 - level) / (1 - end))
    noisy = share * made + np.sqrt(wide(level) ** 2 - (share * wide(end)) ** 2) * z
    real = posterior(REAL, noisy, level)
    fake = posterior(FAKE, noisy, level) if critic else noisy - wide(level) * (0.4 * noisy - 0.2)
    expected = (fake - real) / (np.abs(clean - real).mean(axis=(1, 2), keepdims=True) + 1e-5)

    assert float(value.item()) == pytest.approx(0.5 * (expected**2).mean(), rel=1e-3)
    assert metrics["dmd_gradient"] == pytest.approx(np.abs(expected).mean(), rel=1e-3)
    # and it is passed on as it is: the loss's gradient is the mean of grad·∂x̂, ∂x̂/∂b = end − σ
    slope = wide(end - now)
    found = gradient(student.parameters)
    assert found["b"] == pytest.approx((expected * slope).mean(), rel=2e-3, abs=1e-5)
    assert found["a"] == pytest.approx((expected * slope * x).mean(), rel=2e-3, abs=1e-5)


def test_nothing_pulls_where_both_distributions_are_the_same():
    fakes = networks(**{CRITIC: REAL.prediction})
    value, _ = DistributionMatching(config("dmd", dmd_critic=True), fakes).loss(scene(fakes, GRID, N, data=REAL))
    assert float(value.item()) == 0


def test_following_the_gradient_moves_a_generator_to_the_teachers_distribution():
    """A student whose x̂₀ is N(b, s²), an ideal critic of it, at one level: b goes to the teacher's mean."""
    student = Linear(STUDENT, 0.0, 0.0)
    shift = paddle.to_tensor(np.float32(-1.0), stop_gradient=False)
    student.parameters = {f"{STUDENT}.b": shift}
    fakes = networks(student=lambda x, level, told: (x - (REAL.s * x + shift)) / level.reshape([-1, 1, 1]))
    fakes.roles[CRITIC] = lambda x, level, told: Gaussian(float(shift.item()), REAL.s).prediction(x, level)
    term = DistributionMatching(config("dmd", dmd_on="clean", dmd_critic=True), fakes)
    for step in range(60):
        batch = scene(fakes, GRID, np.zeros(16, int), data=REAL, seed=step)
        value, _ = term.loss(batch)
        value.backward()
        with paddle.no_grad():
            shift.set_value(shift - 0.5 * shift.grad)
        shift.clear_gradient(False)
    assert float(shift.item()) == pytest.approx(REAL.m, abs=0.05)


def test_the_critics_loss_is_the_processs_own_and_trains_nobody_else():
    """‖v_φ(x_t) − (ε' − x̂)/…‖²: for made at the phase's end, the prediction that leads from x_t back to it."""
    student, critic = Linear(STUDENT, 0.4, -0.2), Linear(CRITIC, 0.1, 0.2)
    fakes = networks(student=student, **{CRITIC: critic})
    term = DistributionMatching(config("dmd", dmd_on="clean", dmd_critic=True), fakes)
    batch = scene(fakes, GRID, N, data=REAL)
    value, metrics = term.opponent_loss(batch)
    value.backward()
    now = GRID.levels[N].astype(np.float64)
    x = (1 - wide(now)) * batch.clean.numpy() + wide(now) * batch.noise.numpy()
    clean = x - wide(now) * (0.4 * x - 0.2)
    level, z = drawn(batch, "clean")
    noisy = (1 - wide(level)) * clean + wide(level) * z
    error = 0.1 * noisy + 0.2 - (z - clean)
    assert float(value.item()) == pytest.approx((error**2).mean(), rel=1e-4)
    assert metrics == {"critic_loss": pytest.approx((error**2).mean(), rel=1e-4)}
    assert gradient(critic.parameters) == pytest.approx(
        {"a": (2 * error * noisy).mean(), "b": (2 * error).mean(), "c": (2 * error * wide(level)).mean()}, rel=1e-3
    )
    assert all(value.grad is None for value in student.parameters.values())


@pytest.mark.parametrize("on", ["phase", "clean"])
def test_a_trained_critic_is_the_ideal_one(on):
    """Its least loss is reached by the prediction for the distribution of what the student makes: x̂₀ ~ N(m, s²)
    whatever the noise was, or a landing that lies on the same way at the end of the phase."""
    end = float(GRID.edges[1]) if on == "phase" else 0.0
    mean, deviation = (1 - end) * FAKE.m, ((1 - end) ** 2 * FAKE.s**2 + end**2) ** 0.5
    student = lambda x, level, told: (x - (mean + deviation * x)) / (1 - end)  # noqa: E731 (from pure noise)
    pulls = {}
    for name, data in (("ideal", FAKE), ("teacher", REAL), ("broad", Gaussian(FAKE.m, 0.9))):
        away = Linear(CRITIC, 0.0, 0.0)
        critic = lambda x, level, told, data=data, away=away: data.prediction(x, level) + away(x, level, told)  # noqa: E731
        fakes = networks(student=student, **{CRITIC: critic})
        term = DistributionMatching(config("dmd", dmd_on=on, dmd_critic=True), fakes)
        term.opponent_loss(scene(fakes, GRID, np.zeros(256, int), shape=(1000, 3)))[0].backward()
        pulls[name] = max(map(abs, gradient(away.parameters).values()))
    assert pulls["ideal"] < 0.1 * min(pulls["teacher"], pulls["broad"])


def test_groups_are_the_critics_and_only_where_there_is_one():
    fakes = networks()
    assert DistributionMatching(config("dmd"), fakes).groups() == []
    assert fakes.added == {}
    fakes = networks(**{CRITIC: Linear(CRITIC, 0.1, 0.2)})
    settings = config("dmd", dmd_critic=True, lr=1e-4, dmd_critic_lr=2e-5, rank=8, seed=3)
    (group,) = DistributionMatching(settings, fakes).groups()
    assert group.name == CRITIC and group.parameters is fakes.parameters[CRITIC] and not group.averaged
    assert group.lr_scale == pytest.approx(0.2)
    assert fakes.added == {CRITIC: (8, None, 4)}
