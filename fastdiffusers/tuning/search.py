"""Bisection over a tunable range, on measurements that are steps and noisy."""

from __future__ import annotations

from fastdiffusers.tunable import Tunable
from fastdiffusers.tuning.target import Target
from fastdiffusers.tuning.trial import Measure, Trial


def search(
    scale: Tunable, whole: bool, start: float, target: Target, measure: Measure, at_most: int, trials: list[Trial]
) -> Trial | None:
    """The best setting that met ``target`` twice; None where none did. At most so many settings are tried.

    Every trial is added to ``trials`` as soon as it is measured, so that an interrupted search leaves them. Speed and
    fidelity need not fall evenly along the range, so the choice is made among all trials, not where the bisection
    ended. What was chosen may have been lucky, so it is measured again and only that counts; where it fails, the
    search goes on from there.
    """
    checked: set[int] = set()
    value: float | None = start
    while True:
        if value is not None and len(trials) < at_most:
            trials.append(measure(value))
        else:
            chosen = best(scale, target, trials)
            if chosen is None or trials.index(chosen) in checked:
                return chosen
            place = trials.index(chosen)
            trials[place] = measure(chosen.value)
            checked.add(place)
            if target.met(trials[place]):
                return trials[place]
        value = following(scale, whole, target, trials)


def following(scale: Tunable, whole: bool, target: Target, trials: list[Trial]) -> float | None:
    """The value to try next: an end of the range, or halfway between the two trials about the first edge.

    The edge is where trials that want a stronger setting meet those that want a milder one. None where it is known.
    """

    def strength(trial: Trial) -> float:
        return scale.strength(trial.value)

    too_strong = [trial for trial in trials if not target.wants_stronger(trial)]
    if not too_strong:
        return None if any(trial.value == scale.strong for trial in trials) else scale.strong
    strong = min(too_strong, key=strength)
    below = [trial for trial in trials if strength(trial) < strength(strong)]
    if not below:
        return None if strong.value == scale.mild else scale.mild
    return scale.between(max(below, key=strength).value, strong.value, whole)


def best(scale: Tunable, target: Target, trials: list[Trial]) -> Trial | None:
    """The best of the trials that meet the target."""
    meeting = [trial for trial in trials if target.met(trial)]
    return min(meeting, key=lambda trial: target.rank(trial, scale.strength(trial.value)), default=None)
