"""Indicators and rules against sequences worked out by hand."""

from types import SimpleNamespace

import paddle
import pytest

from fastdiffusers.caching.design import Branch, Design, Rules, Unit, simulate
from fastdiffusers.caching.estimators import OUTPUT, Reuse
from fastdiffusers.caching.indicators import FirstBlocks, Interval, Mask, Moment, ProbeChange
from fastdiffusers.caching.scopes import Between, Blocks, Cut, Modules, Stack
from fastdiffusers.caching.stack import Form
from fastdiffusers.errors import InputError, PlanError
from fastdiffusers_caching.calm import Calm
from fastdiffusers_caching.magnitude import MagnitudeDrift, Magnitudes
from fastdiffusers_caching.masks import check_steps, read_schedule
from fastdiffusers_caching.teablockcache import first_channels


class Level:
    """Stands for a walk: probe and residual of the first blocks are both the present level."""

    def __init__(self, level):
        self.level = paddle.full([1, 2, 8], level)
        self.entry = paddle.zeros([1, 2, 8])

    def probe(self):
        return self.level

    def image(self):
        return self.level


def pattern(indicator, levels, rules=None, sigmas=None, scope=None):
    """Which steps are computed when probe or first residual have the given levels."""
    branch = Branch(Design(scope or Stack(), lambda: indicator, rules=rules or Rules()))
    branch.begin(None, [Unit(0, 1, Form.APART, Reuse())])
    found = ""
    for step, level in enumerate(levels):
        sigma = sigmas[step] if sigmas else 1 - step / len(levels)
        moment = Moment(step, len(levels), sigma, (1, 2), 0, branch.units, Level(level))
        computed = branch.decide(moment)
        if computed:
            branch.units[0].estimator.terms = [()]
        found += "x" if computed else "."
    return found


def rising(changes):
    levels = [1.0]
    for change in changes:
        levels.append(levels[-1] * (1 + change))
    return levels


def test_the_probe_counts_from_step_to_step_and_starts_anew_when_computed():
    assert pattern(ProbeChange(0.25), rising([0.1] * 8)) == "x..x..x.."
    assert pattern(ProbeChange(0.3), rising([0.05, 0.3, 0.05, 0.05])) == "x.x.."


def test_the_probe_may_be_rescaled_and_cut():
    assert pattern(ProbeChange(0.25, rescale=lambda change: 2 * change), rising([0.1] * 6)) == "x.x.x.x"
    cut = ProbeChange(1.0, view=first_channels)
    pattern(cut, [1.0, 2.0])
    assert cut.before.shape == [1, 2, 1]


def test_the_first_block_is_compared_with_the_last_computed_step_not_the_last_one():
    # against the step before, 0.06 each time, nothing would ever be due; the drift from the reference is
    assert pattern(FirstBlocks(0.15), [1.0, 1.06, 1.12, 1.18, 1.24, 1.3]) == "x..x.."
    assert pattern(FirstBlocks(0.15), [1.0, 0.5, 1.0, 0.5]) == "xxxx"
    assert pattern(FirstBlocks(0.0), [1.0, 1.0, 1.0]) == "xxx"


def test_a_distance_that_is_no_number_computes():
    assert pattern(FirstBlocks(0.5), [1.0, float("nan"), float("nan")]) == "xxx"
    assert pattern(ProbeChange(0.5), [0.0, 0.0, 0.0]) == "xxx"  # 0 / 0


def test_calm_asks_for_little_change_several_times_in_a_row():
    assert pattern(Calm(0.1, times=2), rising([0.05, 0.05, 0.05, 0.2, 0.05, 0.05])) == "xx..xx."


def blind(indicator, steps=10, rules=None, sigmas=None):
    sigmas = sigmas or [1 - i / steps for i in range(steps)]
    found = simulate(Design(Stack(), lambda: indicator, rules=rules or Rules()), sigmas)
    return "".join("x" if computed else "." for computed in found)


def test_an_interval_counts_from_the_last_computed_step():
    assert blind(Interval(3)) == "x..x..x..x"
    assert blind(Interval(3), rules=Rules(warmup=3)) == "xxx..x..x."
    assert blind(Interval(1)) == "x" * 10


def test_a_mask_is_followed_and_what_it_does_not_speak_of_is_computed():
    assert blind(Mask({0, 1, 5, 9})) == "xx...x...x"
    assert blind(Mask({0, 3}, steps=6)) == "x..x..xxxx"


def test_magnitudes_add_up_their_drift_since_the_last_computed_step():
    # γ = 1.1 at every step: errors 0.1, 0.21, 0.331 … add up to 0.1, 0.31, 0.641
    sigmas = [1 - i / 10 for i in range(10)]
    table = Magnitudes(tuple(sigmas), (1.0, *[1.1] * 9), "test")
    assert blind(MagnitudeDrift(0.35, table), sigmas=sigmas) == "x..x..x..x"
    assert blind(MagnitudeDrift(0.2, table), sigmas=sigmas) == "x.x.x.x.x."
    assert blind(MagnitudeDrift(99, table), sigmas=sigmas, rules=Rules(start=0.2, max_consecutive=3)) == "xx...x...x"
    # half the steps: each spans two of the measured ones, γ² = 1.21
    assert table.log(sigmas[2]) == pytest.approx(2 * 0.0953102)
    assert blind(MagnitudeDrift(0.25, table), sigmas=sigmas[::2]) == "x.x.x"


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        (Rules(), "x........."),
        (Rules(warmup=3, final=2), "xxx.....xx"),
        # 2.5 and 2.4 steps, to the nearest; 7.5 are not over before step 8
        (Rules(start=0.25, end=0.75), "xxx.....xx"),
        (Rules(start=0.24), "xx........"),
        (Rules(sigma_from=0.85, sigma_to=0.25), "xx......xx"),
        (Rules(max_skips=4), "x....xxxxx"),
        (Rules(max_consecutive=2), "x..x..x..x"),
        (Rules(warmup=2, max_skips=3, max_consecutive=1), "xx.x.x.xxx"),
    ],
)
def test_rules(rules, expected):
    assert blind(Mask(()), rules=rules) == expected


def test_nothing_is_skipped_when_never():
    assert all(simulate(Design(Stack(), lambda: Mask(()), never=True), [1.0, 0.5, 0.2]))


FORMS = [Form.APART] * 4 + [Form.JOINT] * 8


def test_scopes_name_their_stretches():
    assert Stack().spans(FORMS) == [(0, 12)]
    assert Between(2, 3).spans(FORMS) == [(2, 9)]
    assert Cut(5).spans(FORMS) == [(0, 5)]
    assert Cut().spans([Form.JOINT] * 57) == [(0, 47)]
    assert Cut().spans([Form.JOINT] * 12) == [(0, 10)]
    assert Blocks(3).spans(FORMS) == [(3, 4), (7, 8), (8, 9), (9, 10), (10, 11), (11, 12)]
    for scope, message in (
        (Between(8, 4), "first=8 and last=4 leave no block between them in a stack of 12"),
        (Cut(12), "cut=12 is no place within a stack of 12 blocks; valid: 1 to 11"),
        (Blocks(8), "first=8 leaves no block: the longest list has 8"),
    ):
        with pytest.raises(PlanError, match=message):
            scope.spans(FORMS)


def test_products_without_sense_are_refused():
    with pytest.raises(PlanError, match="first-block indicator needs blocks that are always computed"):
        Design(Stack(), lambda: FirstBlocks(0.1)).check(FORMS)
    with pytest.raises(PlanError, match="module has no residual"):
        Design(Modules(), lambda: Interval(3)).check(FORMS)
    Design(Modules(), lambda: Interval(3), lambda: Reuse(OUTPUT)).check(FORMS)


def test_masks_are_read_as_steps_or_as_signs():
    assert read_schedule("0/1/5").computed == {0, 1, 5} and read_schedule("0/1/5").steps is None
    assert read_schedule("110001").computed == {0, 1, 5} and read_schedule("110001").steps == 6
    assert read_schedule("0/1/5").bits == "110001"
    for text in ("", "0/x", "0//1", "-1", "0-1"):
        with pytest.raises(InputError, match="neither computed steps"):
            read_schedule(text)
    for text in ("1/2", "0110", "7"):
        with pytest.raises(InputError, match="does not compute step 0"):
            read_schedule(text)
    check_steps(read_schedule("110001"), 6)
    with pytest.raises(PlanError, match="the mask is for 6 steps, here are 8"):
        check_steps(read_schedule("110001"), 8)
    with pytest.raises(PlanError, match="computes step 5, here are steps 0 to 4"):
        check_steps(read_schedule("0/1/5"), 5)


def test_the_node_is_the_step_or_sigma():
    moment = SimpleNamespace(step=3, sigma=0.25)
    assert Unit(0, 1, Form.APART, Reuse()).node(moment) == 3
    assert Unit(0, 1, Form.APART, Reuse(nodes="sigma")).node(moment) == 0.25
