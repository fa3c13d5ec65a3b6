"""Estimators against sequences worked out by hand: reuse, TaylorSeer's differences, Newton's on uneven nodes."""

import numpy as np
import paddle
import pytest

from fastdiffusers.caching.estimators import Newton, Reuse, Taylor


def value(number):
    return (paddle.full([2], float(number)), paddle.full([3], -float(number)))


def fed(estimator, nodes, function):
    for node in nodes:
        estimator.learn(node, value(function(node)))
    return estimator


def at(estimator, node):
    first, second = estimator.forecast(node)
    assert second.mean().item() == pytest.approx(-first.mean().item())
    return first.mean().item()


def test_reuse_gives_the_very_tensors_back():
    estimator = Reuse()
    one, two = value(1), value(2)
    estimator.learn(0, one)
    estimator.learn(3, two)
    assert estimator.forecast(7) is two


@pytest.mark.parametrize("kind", [Taylor, Newton])
@pytest.mark.parametrize("order", [1, 2, 3])
def test_a_line_is_continued_exactly(kind, order):
    estimator = fed(kind(order=order), [0, 2, 5, 6, 10], lambda t: 3 * t - 1)
    for k in (1, 2, 5):
        assert at(estimator, 10 + k) == pytest.approx(3 * (10 + k) - 1, abs=1e-4)


def test_an_order_needs_as_many_steps_before():
    estimator = Taylor(order=2)
    estimator.learn(0, value(5))
    assert len(estimator.terms) == 1 and at(estimator, 9) == 5
    estimator.learn(2, value(9))
    assert len(estimator.terms) == 2 and at(estimator, 3) == 11
    estimator.learn(4, value(9))
    # D¹ = (9 − 9)/2 = 0, D² = (0 − 2)/2 = −1: 9 + 0·3 − 1·3²/2
    assert at(estimator, 7) == pytest.approx(9 - 4.5)


@pytest.mark.parametrize("gap", [1, 2, 5])
@pytest.mark.parametrize("k", [1, 2, 4])
def test_taylor_of_order_two_is_off_by_k_times_the_gap_on_a_parabola(gap, k):
    last = 4 * gap
    estimator = fed(Taylor(order=2), [last - 2 * gap, last - gap, last], lambda t: t * t)
    assert (last + k) ** 2 - at(estimator, last + k) == pytest.approx(k * gap, rel=1e-4)


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_newton_is_exact_to_its_degree_on_uneven_nodes(order):
    polynomial = np.polynomial.Polynomial([0.5, -1.0, 0.75, 0.25, -0.125][: order + 1])
    nodes = [0.0, 0.7, 1.0, 2.5, 2.75, 4.0]
    estimator = fed(Newton(order=order), nodes, polynomial)
    assert len(estimator.terms) == order + 1
    for node in (4.25, 5.0):
        assert at(estimator, node) == pytest.approx(polynomial(node), rel=1e-3)


def test_newton_is_not_exact_beyond_its_degree():
    estimator = fed(Newton(order=1), [0, 1, 3], lambda t: t * t)
    # through (1, 1) and (3, 9): 4t − 3
    assert at(estimator, 5) == pytest.approx(17)


def test_nodes_may_fall_as_sigmas_do():
    estimator = fed(Newton(order=2, nodes="sigma"), [1.0, 0.9, 0.6], lambda s: s * s)
    assert at(estimator, 0.5) == pytest.approx(0.25, abs=1e-5)


def test_damping_shrinks_each_order_once_more():
    estimator = fed(Taylor(order=2, damping=0.5), [0, 1, 2], lambda t: t * t)
    # F = 4, D¹ = 3, D² = 2: 4 + 3·1·0.5 + 2·(1/2)·0.25
    assert at(estimator, 3) == pytest.approx(4 + 1.5 + 0.25)
    assert at(fed(Newton(order=1, damping=0.0), [0, 1], lambda t: t), 5) == 1


def test_it_holds_one_set_of_tensors_for_each_order():
    estimator = fed(Taylor(order=2), range(5), lambda t: t)
    assert [tensor.shape for tensor in estimator.held()] == [[2], [3]] * 3
