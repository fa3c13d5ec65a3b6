"""Replay: decisions of one run carried out in another, at the cost of measuring."""

import pytest
from counting_stack import drive, model_of

from fastdiffusers.caching.design import Design, Rules
from fastdiffusers.caching.estimators import OUTPUT, Taylor
from fastdiffusers.caching.indicators import FirstBlocks, Interval, ProbeChange, Replay
from fastdiffusers.caching.scopes import Between, Blocks, Modules, Stack
from fastdiffusers_caching.ranking import SortBlock

LEVELS = [1.0, 1.1, 1.2, 1.6, 1.7, 1.8, 2.6, 2.7, 2.8, 2.9]
OTHERS = [1.0 + 5.0 * (i % 3) for i in range(len(LEVELS))]  # by itself it would decide otherwise
STACK = Design(Stack(), lambda: ProbeChange(0.3), rules=Rules(final=1))
FIRST = Design(Between(1), lambda: FirstBlocks(0.3))
BLOCKS = Design(Blocks(), lambda: ProbeChange(0.25))
MODULES = Design(Modules(), lambda: Interval(3), lambda: Taylor(OUTPUT, 1))


def marks_of(done, number=0):
    return [done.log.decisions[number]["cond", step] for step in range(len(LEVELS))]


@pytest.mark.parametrize("design", [STACK, FIRST, BLOCKS, MODULES])
def test_the_decisions_are_those_of_before_and_measuring_goes_on(design):
    before = drive(design, LEVELS)
    own = drive(design, OTHERS)
    again = drive(design.replaying(marks_of(before)), OTHERS)
    assert again.runs == before.runs and marks_of(again) == marks_of(before)
    if design is not MODULES:  # its interval sees no tensor
        assert own.runs != before.runs
        assert len(again.log.distances) == len(before.log.distances) > 0
        assert again.log.distances != before.log.distances


def test_each_design_of_several_has_its_own_decisions():
    inner, outer = Design(Blocks(), lambda: Interval(2)), Design(Stack(), lambda: Interval(3))
    done = drive([inner, outer], LEVELS)
    assert len(done.log.decisions) == 2
    whole = marks_of(done, 1)
    assert whole == ["x", ".", ".", "x", ".", ".", "x", ".", ".", "x"]
    asked = [step for _, step in done.log.decisions[0]]
    assert asked == [0, 3, 6, 9]  # where the outer one computes
    assert all(len(marks) == 5 for marks in done.log.decisions[0].values())


def test_decisions_are_forgotten_with_a_generation():
    done = drive(STACK, LEVELS)
    done.log.clear()
    assert done.log.decisions == [{}]


def test_a_ranking_is_not_made_anew_because_other_blocks_are_computed():
    """It takes a decision that it did not make for a rule's, and would rank again at every block."""
    counted = []

    class Counted(SortBlock):
        def _rank(self, moment):
            counted.append(moment.step)
            return frozenset()

    design = Design(Blocks(), lambda: Counted(5, 0.1), lambda: Taylor(order=1))
    marks = ["xxxxx", *["xx..."] * 4] * 2
    done = drive(design.replaying(marks), LEVELS)
    assert [len(run) for run in done.runs] == [5, 2, 2, 2, 2] * 2
    assert counted == [1, 6]


def test_it_stands_for_the_indicator_in_every_other_way():
    inner = FirstBlocks(0.1)
    replay = Replay(inner, ["x"])
    assert (replay.blind, replay.common) == (False, False) and Replay(Interval(2), []).blind
    inner.reference = object()
    assert replay.held() == [inner.reference]
    assert len(drive(FIRST, LEVELS, model_of(2, 3)).log.decisions) == 1
