"""SortBlock: its ratio, its ranking, and who is computed when."""

from types import SimpleNamespace

import numpy as np
import paddle
import pytest
from counting_stack import drive, flux_sigmas, model_of

from fastdiffusers.caching.design import Design, Rules, Unit
from fastdiffusers.caching.estimators import Taylor
from fastdiffusers.caching.indicators import Moment
from fastdiffusers.caching.scopes import Blocks, Stack
from fastdiffusers.caching.stack import Form
from fastdiffusers.errors import PlanError
from fastdiffusers_caching.ranking import SortBlock, least_similar, update_ratio


@pytest.mark.parametrize(
    ("t", "ratio"),  # the polynomial, worked out with 28 decimal digits
    [(50, 0.6556431), (100, 0.6273027), (250, 0.3155500), (500, 0.1861331), (750, 0.1677807), (900, 0.1929715)],
)
def test_the_share_of_blocks_follows_the_published_polynomial(t, ratio):
    assert update_ratio(t / 1000, 1.0) == pytest.approx(ratio, abs=2e-6)
    assert update_ratio(t / 1000, 0.1) == pytest.approx(ratio / 10, abs=2e-7)


def test_the_least_similar_blocks_are_chosen_and_at_most_all():
    scores = [0.9, 0.1, 0.5, 0.1, 0.99]
    assert least_similar(scores, 0.0) == [1]
    assert least_similar(scores, 0.2) == [1, 3]
    assert least_similar(scores, 0.59) == [1, 3, 2]
    assert sorted(least_similar(scores, 7.0)) == [0, 1, 2, 3, 4]


def estimator_with(change, tokens=1):
    """One whose forecast is its stored residual (along channel 0) turned by ``change`` towards channel 1."""
    estimator = Taylor(order=1)
    first, second = np.zeros((1, tokens, 16), np.float32), np.zeros((1, tokens, 16), np.float32)
    first[..., 0] = second[..., 0] = 1
    first[..., 1] = -change
    first[..., 9] = 50  # beyond the first eighth of the channels: without influence
    estimator.learn(0, (paddle.to_tensor(first),))
    estimator.learn(1, (paddle.to_tensor(second),))
    return estimator


def test_blocks_are_ranked_by_the_cosine_of_stored_and_forecast_residual_within_their_list():
    changes = [0.1, 3.0, 0.2, 0.5, 0.0, 0.4]
    forms = [Form.APART] * 3 + [Form.JOINT] * 3
    units = [Unit(i, i + 1, form, estimator_with(c)) for i, (c, form) in enumerate(zip(changes, forms, strict=True))]
    ranking = SortBlock(5, 0.1)
    moment = Moment(2, 10, 0.5, units=units)
    # the forecast for step 2 is (1, change), its cosine with (1, 0) is 1 / √(1 + change²)
    np.testing.assert_allclose(ranking._scores(moment), [1 / np.sqrt(1 + c * c) for c in changes], rtol=1e-5)
    assert ranking._rank(moment) == {1, 3}
    assert SortBlock(5, 1.0)._rank(Moment(2, 10, 0.05, units=units)) == {1, 2, 3, 5}  # int(3 · 0.656) + 1 = 2 of each


def test_image_and_text_count_by_their_tokens():
    estimator = Taylor(order=1)
    one, other = estimator_with(0.0, tokens=3), estimator_with(1.0, tokens=1)
    for a, b in ((one.terms[0], other.terms[0]), (one.forecast(2), other.forecast(2))):
        estimator.terms.append((a[0], b[0]))
    forecast = estimator.terms.pop()
    unit = SimpleNamespace(
        estimator=SimpleNamespace(terms=estimator.terms, forecast=lambda node: forecast), node=lambda moment: 2
    )
    (score,) = SortBlock(5, 0.1)._scores(Moment(2, 10, 0.5, units=[unit]))
    assert score == pytest.approx((3 + 1 / np.sqrt(2)) / 4, rel=1e-5)


def test_between_full_steps_only_the_flagged_blocks_are_run():
    done = drive(Design(Blocks(), lambda: SortBlock(4, 0.1), lambda: Taylor(order=1)), np.arange(1, 10) / 10)
    assert [len(run) for run in done.runs] == [5, 2, 2, 2, 5, 2, 2, 2, 5]
    assert done.runs[1] == done.runs[2] == done.runs[3]
    # every residual of this stack is a line in the level, so the forecast of order 1 is exact from the second full step
    full = drive([], np.arange(1, 10) / 10)
    np.testing.assert_allclose(done.outputs[4:], full.outputs[4:], rtol=1e-5)


def test_a_step_computed_by_a_rule_makes_the_ranking_anew():
    rules = Rules(sigma_from=0.85)
    done = drive(Design(Blocks(), lambda: SortBlock(4, 0.1), lambda: Taylor(order=1), rules), [1.0] * 10)
    assert [len(run) == 5 for run in done.runs] == [True, True, False, False, True, False, False, False, True, False]


def test_fifty_flux_steps_cost_twenty_one_forwards():
    sigmas = flux_sigmas(50)
    rules = Rules(sigma_from=0.9, sigma_to=0.05)
    design = Design(Blocks(), lambda: SortBlock(5, 0.1), lambda: Taylor(order=1), rules)
    done = drive(design, [0.5] * 50, model_of(19, 38), sigmas)
    expected, count = 0, None
    for step, sigma in enumerate(sigmas):
        if not 0.05 <= sigma <= 0.9 or step % 5 == 0:
            expected, count = expected + 57, None
            continue
        ratio = update_ratio(sigma, 0.1)
        count = count or int(19 * ratio) + int(38 * ratio) + 2
        expected += count
    assert done.evaluations == expected
    assert expected / 57 == pytest.approx(21.1, abs=0.1)


def test_it_ranks_single_blocks_only():
    with pytest.raises(PlanError, match="ranks single blocks"):
        Design(Stack(), lambda: SortBlock(5, 0.1)).check([Form.APART])
