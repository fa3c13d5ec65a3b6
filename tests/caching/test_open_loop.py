"""What masks cost, told from uncached runs: against sums written out by hand, and runs without feedback."""

import numpy as np
import pytest

from fastdiffusers.caching.estimators import RESIDUAL, SIGMA, Newton, Taylor
from fastdiffusers_caching.open_loop import OpenLoop

SIGMAS = [1.0, 0.9, 0.7, 0.4, 0.3]


@pytest.fixture
def velocities():
    return np.random.RandomState(0).randn(5, 3, 4, 2)


def test_the_error_of_reuse_and_of_a_forecast_is_the_sum_of_what_each_skipped_step_adds(velocities):
    latents = np.random.RandomState(1).randn(3, 4, 2)
    loop = OpenLoop.of(SIGMAS, velocities, latents)
    v, norms = velocities, np.linalg.norm(latents.reshape(3, -1), axis=1)

    def relative(change):
        return np.sqrt(((np.linalg.norm(change.reshape(3, -1), axis=1) / norms) ** 2).mean())

    # steps 0 and 3 computed; Δσ of the others: 0.7 − 0.9, 0.4 − 0.7, 0 − 0.3
    reused = -0.2 * (v[0] - v[1]) - 0.3 * (v[0] - v[2]) - 0.3 * (v[3] - v[4])
    assert loop.error((0, 3), lambda: Taylor(RESIDUAL, 0)) == pytest.approx(relative(reused))
    slope = 0.5 * (v[3] - v[0]) / 3
    forecast = -0.2 * (v[0] - v[1]) - 0.3 * (v[0] - v[2]) - 0.3 * (v[3] + slope - v[4])
    assert loop.error((0, 3), lambda: Taylor(RESIDUAL, 1, damping=0.5)) == pytest.approx(relative(forecast))
    on_sigma = -0.3 * (v[1] + (0.7 - 0.9) * (v[1] - v[0]) / (0.9 - 1.0) - v[2])
    assert loop.error((0, 1, 3, 4), lambda: Newton(RESIDUAL, 1, SIGMA)) == pytest.approx(relative(on_sigma))
    assert loop.error(range(5), lambda: Taylor(RESIDUAL, 1)) == 0


def test_growth_weighs_early_errors_as_they_were_measured(velocities):
    loop = OpenLoop.of(SIGMAS, velocities, velocities[0])
    reuse = lambda: Taylor(RESIDUAL, 0)  # noqa: E731
    assert loop.probes(3) == [1, 2, 4] and OpenLoop.of([1.0], velocities[:1], velocities[0]).probes() == []
    single = {step: loop.error(set(range(5)) - {step}, reuse) for step in (1, 2, 4)}
    grown = loop.grown({1: 6 * single[1], 2: 2 * single[2], 4: single[4]}, reuse)
    np.testing.assert_allclose(grown.growth, [6, 6, 2, 1.5, 1])
    assert grown.error((0, 2, 3, 4), reuse) == pytest.approx(6 * single[1])
    assert loop.grown({}, reuse) is loop


def test_a_linear_drift_is_forecast_without_error():
    drift = np.arange(6.0)[:, None, None] * np.ones((1, 2, 3))
    loop = OpenLoop.of(np.linspace(1, 0.2, 6), drift, np.ones((2, 3)))
    assert loop.error((0, 1, 4), lambda: Taylor(RESIDUAL, 1)) == pytest.approx(0, abs=1e-7)
    assert loop.error((0, 1, 4), lambda: Taylor(RESIDUAL, 0)) > 0.1
