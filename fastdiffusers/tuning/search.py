"""Bisection over a tunable range, on measurements that are steps and noisy."""

from __future__ import annotations

from collections.abc import Callable

from fastdiffusers.tunable import Tunable
from fastdiffusers.tuning.target import Target
from fastdiffusers.tuning.trial import Measure, Trial

CHECKS = 3  # how many choices may fail their second measurement before the search gives up


def bisect(scale: Tunable, whole: bool, start: float, wants_stronger: Callable[[float], bool], at_most: int) -> None:
    """Ask ``wants_stronger(value)`` for ``at_most`` values that close in on where its answer changes.

    It begins at ``start``, goes on to the end of the range that the answer points to, and halves from there.
    """
    mild: float | None = None
    strong: float | None = None
    value = start
    for _ in range(at_most):
        if wants_stronger(value):
            mild = value
        else:
            strong = value
        if mild is None:
            following = None if value == scale.mild else scale.mild
        elif strong is None:
            following = None if value == scale.strong else scale.strong
        else:
            following = scale.between(mild, strong, whole)
        if following is None:
            return
        value = following


def search(
    scale: Tunable, whole: bool, start: float, target: Target, measure: Measure, at_most: int, trials: list[Trial]
) -> Trial | None:
    """The best setting that was measured to meet ``target``, twice; None where none was.

    Every trial is added to ``trials`` as soon as it is measured, so that an interrupted search leaves them. Speed and
    fidelity need not fall evenly along the range, so the choice is made among all trials, not where the bisection
    ended.
    """

    def ask(value: float) -> bool:
        trials.append(measure(value))
        return target.wants_stronger(trials[-1])

    bisect(scale, whole, start, ask, at_most)
    for _ in range(CHECKS):
        chosen = best(scale, target, trials)
        if chosen is None:
            return None
        place = trials.index(chosen)
        trials[place] = chosen.again(measure(chosen.value))
        if target.met(trials[place]):
            return trials[place]
    return None


def best(scale: Tunable, target: Target, trials: list[Trial]) -> Trial | None:
    """The best of the trials that meet the target."""
    meeting = [trial for trial in trials if target.met(trial)]
    return min(meeting, key=lambda trial: (*target.rank(trial), scale.strength(trial.value)), default=None)
