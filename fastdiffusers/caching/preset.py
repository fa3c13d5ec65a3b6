"""A cache as an entry of the registry: its specification, and what it will do, said beforehand. No Paddle."""

from __future__ import annotations

from math import ceil
from typing import Any

from fastdiffusers.accelerator import AcceleratorSpec, Factor, Fidelity, Kind, Predict, Prediction, Reference, Setting
from fastdiffusers.caching.cache import Cache
from fastdiffusers.caching.design import Design, simulate
from fastdiffusers.caching.scopes import Stack
from fastdiffusers.caching.stack import stack_of
from fastdiffusers.errors import PlanError
from fastdiffusers.models.info import ModelInfo

FEWEST_STEPS = 8
BLOCKS = frozenset({"blocks"})
# an accelerator with this tag replaces the loop over the blocks by something that does not call them one by one
FUSED = frozenset({"fused-loop"})


def preset(
    name: str,
    summary: str,
    kind: type[Cache],
    config: type,
    references: tuple[Reference, ...] = (),
    walks: bool = True,
    predict: Predict | None = None,
    trial: str = "",
) -> AcceleratorSpec:
    """The specification of a cache.

    One cache claims the blocks. It lies outside of whatever compiles them, so its decisions stay in Python. ``walks``:
    it runs the blocks one by one; one of whole steps does not, and goes around a fused loop as well. ``trial``: options
    with which it skips something on any model, be its weights random.
    """
    return AcceleratorSpec(
        name=name,
        kind=Kind.CACHE,
        summary=summary,
        target=f"{kind.__module__}:{kind.__qualname__}",
        config=config,
        claims=BLOCKS,
        requires=BLOCKS,
        tags=frozenset({"cache", "per-block" if walks else "whole-stack"}),
        conflicts=FUSED if walks else frozenset(),
        fidelity=Fidelity.LOSSY,
        references=references,
        predict=predict or predict_cache(name, kind),
        trial=trial,
    )


def predict_cache(name: str, kind: type[Cache]) -> Predict:
    """What a plan says of ``kind``: refusals, and the exact number of skips where the decisions see no tensor."""

    def predict(config: Any, info: ModelInfo, setting: Setting) -> Prediction:
        steps = refuse_few_steps(name, config.force, setting)
        designs = kind(config).designs(info)
        forms = stack_of(info.family).forms(info.transformer)
        for design in designs:
            design.check(forms)
        if all(design.never for design in designs):
            return Prediction(False, "threshold 0 computes every step", f"skips 0 of {steps}")
        if len(designs) == 1 and designs[0].indicator().blind:
            skipped = simulate(designs[0], sigmas_of(info, setting)).count(False)
            factor = _whole_stack_factor(designs[0], steps, skipped)
            reason = "decided by the schedule alone"
            return Prediction(skipped > 0, reason, f"skips {skipped} of {steps}", factor=factor)
        return Prediction(True, "how much is skipped depends on the picture")

    return predict


def _whole_stack_factor(design: Design, steps: int, skipped: int) -> Factor | None:
    """What it buys where whole steps are skipped, at best: a skipped step is taken to cost nothing."""
    if not isinstance(design.scope, Stack) or not skipped:
        return None
    return Factor(steps / (steps - skipped), f"at best: {steps} steps over the {steps - skipped} that are computed")


def effective_steps(setting: Setting) -> int:
    """Number of steps that are run: img2img runs the share ``strength`` of them."""
    return setting.steps if setting.strength is None else ceil(setting.steps * setting.strength)


def refuse_few_steps(name: str, force: bool, setting: Setting) -> int:
    """The number of steps; a `PlanError` where there are so few that caching does more harm than good."""
    steps = effective_steps(setting)
    if steps < FEWEST_STEPS and not force:
        raise PlanError(
            f"{name} at {steps} steps gains little (at best 1.33x published at 4) and the loss is visible: use "
            f"at least {FEWEST_STEPS} steps, or force=true"
        )
    return steps


def sigmas_of(info: ModelInfo, setting: Setting) -> Any:
    """The noise levels that ``setting`` will be run at, falling, without the terminal 0."""
    from fastdiffusers.plugins import registry

    return registry().pipelines[info.family].sigmas(info, setting)[-effective_steps(setting) :]
