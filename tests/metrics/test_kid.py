"""Kernel distance: against sums written out, its mean over equal distributions, blocks, refusals."""

import numpy as np
import pytest

from fastdiffusers.errors import InputError
from fastdiffusers.metrics import kernel_distance


def naive(a, b):
    """The definition, pair by pair."""

    def k(x, y):
        return (float(np.dot(x, y)) / len(x) + 1) ** 3

    n, m = len(a), len(b)
    within_a = sum(k(a[i], a[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    within_b = sum(k(b[i], b[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    return within_a + within_b - 2 * sum(k(x, y) for x in a for y in b) / (n * m)


def test_one_block_is_the_definition_also_for_sets_of_different_size():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(9, 4)), rng.normal(0.5, 2.0, size=(7, 4))
    found = kernel_distance(a, b)
    assert found.mean == pytest.approx(naive(a, b), rel=1e-12)
    assert (found.std, found.blocks, found.error) == (0.0, 1, 0.0)


def test_by_hand():
    # k(1, 1) = 8, k(−1, −1) = 8, k(1, −1) = 0
    assert kernel_distance([[1.0], [1.0]], [[-1.0], [-1.0]]).mean == 16.0


def test_blocks_are_averaged_and_alike_sets_are_0_apart_in_the_mean():
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(4000, 8)), rng.normal(size=(4000, 8))
    found = kernel_distance(a, b, block=100)
    assert found.blocks == 40 and found.error == pytest.approx(found.std / 40**0.5)
    assert abs(found.mean) < 3 * found.error
    moved = kernel_distance(a, b + 0.3, block=100)
    assert moved.mean > 10 * moved.error


def test_the_seed_shuffles_and_the_same_one_repeats():
    rng = np.random.default_rng(2)
    a, b = rng.normal(size=(60, 3)), rng.normal(size=(60, 3))
    assert kernel_distance(a, b, 20, 1) == kernel_distance(a, b, 20, 1) != kernel_distance(a, b, 20, 2)


@pytest.mark.parametrize(
    ("a", "b", "block", "message"),
    [
        (np.zeros((3, 2)), np.zeros((3, 4)), 250, "2 and 4"),
        (np.zeros((1, 2)), np.zeros((3, 2)), 250, "1 samples are too few"),
        (np.zeros(3), np.zeros((3, 2)), 250, r"shape \[3\]"),
        (np.full((3, 2), np.nan), np.zeros((3, 2)), 250, "NaN"),
        (np.zeros((3, 2)), np.zeros((3, 2)), 1, "block is 1"),
    ],
)
def test_what_cannot_be_compared_is_refused(a, b, block, message):
    with pytest.raises(InputError, match=message):
        kernel_distance(a, b, block)
