"""What the decisions of a cache would buy on a larger model, where overhead weighs as on real FLUX.

A small model decides well but pays for every tensor operation of a cache; random weights pay as real ones but decide
nothing sensible. So the decisions of the one are replayed on the other: the cache is attached to the larger model,
measures what it measures, forecasts what it forecasts, and skips what it skipped on the small one.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from fastdiffusers.accelerator import Kind, one_line
from fastdiffusers.bench.measure import ArmResult, Progress, computed_steps
from fastdiffusers.caching.cache import STEP_MARK, Cache
from fastdiffusers.caching.preset import sigmas_of
from fastdiffusers.errors import InputError

if TYPE_CHECKING:
    from fastdiffusers.bench.large_model import LargeModel

PLAIN_STEPS = 3  # uncached ones, timed before and after each arm
BLIND = frozenset({"threshold", "force"})  # options that change decisions, but not what one costs

Store = dict[str, dict[str, Any]]


def replay(
    arms: Sequence[ArmResult],
    info: Any,
    model: Callable[[], LargeModel],
    known: Store,
    keep: Callable[[str, dict[str, Any]], None] = lambda key, result: None,
    progress: Progress = lambda what, done, total: None,
) -> None:
    """Set ``replayed`` of every arm that is one cache, or plain sampling.

    ``model()`` is called when there is something to run. ``known`` has results of before, by key; new ones are added
    to it and told to ``keep``. Arms with the same parts and the same decisions are run once.

    A result is ``{"speedup", "step_s", "seconds", "skipped_s", "skip_ratio", "prompt"}``: the time of all steps of
    plain sampling over the arm's; an uncached step; all steps of the arm; one of its steps in which every unit was
    skipped, and that beside an uncached step (null without such steps); the prompt whose decisions these are.
    """
    wanted = []
    steps = arms[0].samples[0].steps if arms and arms[0].samples else 0
    for arm in arms:
        if arm.error or not arm.samples:
            continue
        if not arm.planned.plan.items:  # by definition: every step is an uncached one
            arm.replayed = {"speedup": steps / arm.samples[0].steps}
        elif (found := representative(arm)) is not None:
            wanted.append((arm, *found))
    made: LargeModel | None = None
    for number, (arm, prompt, decisions) in enumerate(wanted):
        key = _key(arm, decisions)
        if key not in known:
            progress(f"replay {arm.planned.arm.label}", number, len(wanted))
            made = made or _warmed(model)
            try:
                known[key] = _timed(arm, decisions, steps, info, made)
            except Exception as error:
                known[key] = {"error": one_line(error)}
            else:
                keep(key, known[key])
        arm.replayed = {**known[key], "prompt": prompt}


def representative(arm: ArmResult) -> tuple[int, list[str]] | None:
    """(prompt, decisions) of the sample that computed the middle number of steps; None where there are none."""
    items = arm.planned.plan.items
    if len(items) != 1 or items[0].spec.kind is not Kind.CACHE:
        return None
    counted = []
    for sample in arm.samples:
        count, decisions = computed_steps(sample.records), sample.records[0]["stats"].get("decisions")
        if count is not None and decisions:
            counted.append((count[0], sample.prompt, decisions))
    counted.sort(key=lambda entry: entry[:2])
    return counted[(len(counted) - 1) // 2][1:] if counted else None


def check_replay(info: Any) -> tuple[int, int]:
    """(double, single) blocks of a FLUX model; an `InputError` for another one, whose decisions fit nothing here."""
    numbers = [info.transformer.get(key) for key in ("num_layers", "num_single_layers")]
    if info.family != "flux" or None in numbers:
        raise InputError(f"replay is for models of the family 'flux', {info.name} is of {info.family!r}")
    return int(numbers[0]), int(numbers[1])


def _key(arm: ArmResult, decisions: Sequence[str]) -> str:
    item = arm.planned.plan.items[0]
    options = {name: value for name, value in sorted(item.options.items()) if name not in BLIND}
    return f"{item.spec.name} {options} {' '.join(decisions)}"


def _warmed(model: Callable[[], LargeModel]) -> LargeModel:
    made = model()
    made.run([1.0, 0.5])
    return made


def _timed(arm: ArmResult, decisions: list[str], steps: int, info: Any, model: LargeModel) -> dict[str, Any]:
    item = arm.planned.plan.items[0]
    cache = item.spec.load()(item.config)
    if not isinstance(cache, Cache):
        raise InputError(f"{item.spec.name} is not built on the caching engine and cannot be replayed")
    cache.replay(decisions)
    sigmas = sigmas_of(info, arm.planned.plan.setting)
    plain = model.run(sigmas[:PLAIN_STEPS])
    taken = model.run(sigmas, cache, info)
    plain += model.run(sigmas[:PLAIN_STEPS])
    step = statistics.median(plain)
    # steps with the same decisions cost the same: their median, so that a moment's disturbance does not count
    alike: dict[tuple[str, ...], list[float]] = {}
    for marks, seconds in zip(zip(*(text.split(STEP_MARK) for text in decisions), strict=True), taken, strict=True):
        alike.setdefault(marks, []).append(seconds)
    total = sum(len(group) * statistics.median(group) for group in alike.values())
    skipped = [s for marks, group in alike.items() if not any("x" in text for text in marks) for s in group]
    skip = statistics.median(skipped) if skipped else None
    return {
        "speedup": steps * step / total,
        "step_s": step,
        "seconds": total,
        "skipped_s": skip,
        "skip_ratio": None if skip is None else skip / step,
    }
