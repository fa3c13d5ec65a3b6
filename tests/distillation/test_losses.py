"""Distances, by their definitions."""

import numpy as np
import paddle
import pytest

from fastdiffusers.distillation.losses import distance

A = np.array([[1.0, -2.0], [0.5, 3.0]], np.float32)
B = np.array([[1.0, 1.0], [0.0, 2.5]], np.float32)


def test_l2_and_pseudo_huber():
    delta = (A - B).astype(np.float64)
    a, b = paddle.to_tensor(A), paddle.to_tensor(B)
    assert float(distance("l2", a, b, 1.0).item()) == pytest.approx((delta**2).mean())
    for c in (1e-3, 0.5):
        assert float(distance("huber", a, b, c).item()) == pytest.approx(
            (np.sqrt(delta**2 + c * c) - c).mean(), rel=1e-5
        )


def test_pseudo_huber_is_the_square_near_zero_and_the_distance_far_away():
    zero = paddle.zeros([1])
    near, far = (float(distance("huber", paddle.to_tensor([x]), zero, 0.1).item()) for x in (0.004, 50.0))
    assert near == pytest.approx(0.004**2 / 0.2, rel=1e-2) and far == pytest.approx(50 - 0.1, rel=1e-4)


def test_it_is_zero_with_a_finite_gradient_at_the_target():
    a = paddle.to_tensor(A, stop_gradient=False)
    distance("huber", a, paddle.to_tensor(A), 1e-3).backward()
    assert not a.grad.numpy().any()


def test_16_bit_predictions_are_compared_in_float32():
    a, b = (paddle.to_tensor(np.float32([x])).astype("bfloat16") for x in (1.0, 1.0078125))
    assert distance("l2", a, b, 1.0).dtype == paddle.float32
    assert float(distance("l2", a, b, 1.0).item()) == pytest.approx(0.0078125**2)
