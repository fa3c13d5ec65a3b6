"""Fréchet distance: closed forms between normal distributions whose samples have exactly the given moments."""

import numpy as np
import pytest

from fastdiffusers.errors import InputError
from fastdiffusers.metrics import frechet_distance


def samples(mean, covariance, count=50, seed=0):
    """Samples whose mean and unbiased covariance are exactly these."""
    raw = np.random.default_rng(seed).standard_normal((count, len(mean)))
    raw -= raw.mean(axis=0)
    white = np.linalg.qr(raw)[0] * np.sqrt(count - 1)
    return np.asarray(mean) + white @ np.linalg.cholesky(np.asarray(covariance, dtype=float)).T


def test_the_same_features_are_at_distance_zero():
    a = np.random.default_rng(1).standard_normal((40, 8))
    assert 0 <= frechet_distance(a, a) < 1e-9
    assert 0 <= frechet_distance(a, a[::-1]) < 1e-9


def test_moved_features_are_apart_by_the_square_of_the_way():
    a = np.random.default_rng(1).standard_normal((40, 3))
    assert frechet_distance(a, a + np.array([3.0, 0.0, -4.0])) == pytest.approx(25.0)


def test_diagonal_covariances():
    a = samples([1, 2, 3], np.diag([1.0, 4.0, 9.0]))
    b = samples([1, 2, 5], np.diag([4.0, 4.0, 1.0]), count=70, seed=1)
    # squared differences: of the means 2², of the standard deviations 1², 0², 2²
    assert frechet_distance(a, b) == pytest.approx(4 + 1 + 0 + 4)


def test_covariances_that_do_not_commute():
    first, second = np.array([[4.0, 1.0], [1.0, 2.0]]), np.array([[1.0, -0.5], [-0.5, 3.0]])
    product = first @ second
    # the trace of a 2x2 matrix's root is sqrt(trace + 2 sqrt(det))
    root = np.sqrt(np.trace(product) + 2 * np.sqrt(np.linalg.det(product)))
    expected = np.trace(first) + np.trace(second) - 2 * root
    a, b = samples([0, 0], first), samples([0, 0], second, seed=3)
    assert frechet_distance(a, b) == pytest.approx(expected)
    assert frechet_distance(b, a) == pytest.approx(expected)


def test_a_constant_feature_is_no_trouble():
    a = np.random.default_rng(1).standard_normal((40, 3)) * [1, 1, 0]
    assert frechet_distance(a, a + np.array([0, 0, 2])) == pytest.approx(4.0)


def test_single_precision_features_are_computed_in_double():
    a = np.round(np.random.default_rng(1).standard_normal((40, 3)) * 64) + 2.0**20  # exact in both
    expected = frechet_distance(a - 2.0**20, (a - 2.0**20) * 2)
    assert frechet_distance(a.astype(np.float32), (a * 2 - 2.0**20).astype(np.float32)) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (np.zeros((5, 5)), "5 samples are too few for the covariance of 5 features; valid is at least 6"),
        (np.zeros((20, 4)), "features of (3|4) and (3|4) numbers cannot be compared"),
        (np.zeros(20), r"features of shape \[20\] are not valid"),
        (np.zeros((20, 0)), r"features of shape \[20, 0\] are not valid"),
        (np.full((20, 3), np.nan), "NaN"),
    ],
)
def test_bad_features(bad, message):
    good = np.random.default_rng(1).standard_normal((20, 3))
    for pair in [(good, bad), (bad, good)]:
        with pytest.raises(InputError, match=message) as error:
            frechet_distance(*pair)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(("n", "m"), [(5, 5), (9, 4), (4, 30)])
def test_fewer_samples_than_features_where_they_are_allowed(n, m):
    """Against the definition with explicit square roots of the singular covariances."""
    rng = np.random.default_rng(1)
    a, b = rng.standard_normal((n, 8)), rng.standard_normal((m, 8)) * 2 + 1
    shift = a.mean(axis=0) - b.mean(axis=0)
    cov_a, cov_b = np.cov(a.T), np.cov(b.T)
    eigenvalues = np.linalg.eigvals(cov_a @ cov_b).real
    expected = shift @ shift + np.trace(cov_a + cov_b) - 2 * np.sqrt(np.maximum(eigenvalues, 0)).sum()
    assert frechet_distance(a, b, few=True) == pytest.approx(expected, rel=1e-5)
    assert frechet_distance(a, a, few=True) == pytest.approx(0, abs=1e-9)
    with pytest.raises(InputError, match=f"{min(n, m)} samples are too few"):
        frechet_distance(*((a, b) if n < m else (b, a)))
    with pytest.raises(InputError, match=r"1 samples are too few .* valid is at least 2"):
        frechet_distance(a[:1], b, few=True)
