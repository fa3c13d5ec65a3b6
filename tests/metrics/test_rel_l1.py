"""Relative L1: known values, what is and is not symmetric, bad arrays."""

import numpy as np
import pytest

from fastdiffusers.errors import InputError
from fastdiffusers.metrics import rel_l1


def test_known_values():
    b = np.array([[1.0, -2.0], [3.0, -4.0]], np.float32)
    assert rel_l1(b, b) == 0.0
    assert rel_l1(np.zeros_like(b), b) == 1.0
    assert rel_l1(1.25 * b, b) == pytest.approx(0.25)
    assert rel_l1([1.0, 2.0], [1.0, 4.0]) == pytest.approx(2 / 5)
    assert rel_l1(np.zeros(3), np.zeros(3)) == 0.0


def test_scale_and_sign_do_not_matter_but_the_reference_does():
    a, b = np.random.default_rng(0).standard_normal((2, 4, 5))
    assert rel_l1(8 * a, 8 * b) == rel_l1(a, b) == rel_l1(-a, -b)
    # the distance itself is symmetric; only what it is relative to changes
    assert rel_l1(a, b) * np.abs(b).mean() == pytest.approx(rel_l1(b, a) * np.abs(a).mean())
    assert rel_l1(a, 2 * a) == pytest.approx(0.5) and rel_l1(2 * a, a) == pytest.approx(1.0)


def test_is_computed_in_float64():
    b = np.full(1000, 60000.0, np.float16)
    assert rel_l1(np.zeros_like(b), b) == 1.0  # the sum overflows float16
    assert rel_l1(np.array([0], np.uint8), np.array([200], np.uint8)) == 1.0


def test_takes_paddle_tensors():
    import paddle

    a, b = np.random.default_rng(0).standard_normal((2, 4, 5)).astype(np.float32)
    x, y = paddle.to_tensor(a), paddle.to_tensor(b)
    assert rel_l1(x, y) == rel_l1(a, b)
    assert rel_l1(x.astype("bfloat16"), y) == pytest.approx(rel_l1(a, b), rel=0.01)


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        (np.zeros((2, 3)), np.zeros((3, 2)), r"\[2, 3\] and \[3, 2\]"),
        (np.zeros(1), np.zeros(3), r"\[1\] and \[3\]"),
        (np.zeros(0), np.zeros(0), "empty"),
        (np.array([np.nan]), np.ones(1), "NaN"),
        (np.ones(1), np.array([np.inf]), "NaN or infinite"),
        (np.ones(2), np.zeros(2), "zero everywhere"),
        (np.array(["a"]), np.ones(1), "array of numbers"),
    ],
)
def test_bad_arrays(a, b, message):
    with pytest.raises(InputError, match=message) as error:
        rel_l1(a, b)
    assert "\n" not in str(error.value)
