"""What a cache will do, said before anything is loaded. No Paddle."""

from __future__ import annotations

from collections.abc import Callable
from math import ceil
from typing import Any

from fastdiffusers.accelerator import Prediction, Setting
from fastdiffusers.caching.cache import Cache
from fastdiffusers.caching.design import simulate
from fastdiffusers.caching.stack import stack_of
from fastdiffusers.errors import PlanError
from fastdiffusers.models.info import ModelInfo

FEWEST_STEPS = 8


def predict_cache(name: str, kind: type[Cache]) -> Callable[[Any, ModelInfo, Setting], Prediction]:
    """What a plan says of ``kind``: refusals, and the exact number of skips where the decisions see no tensor."""

    def predict(config: Any, info: ModelInfo, setting: Setting) -> Prediction:
        steps = refuse_few_steps(name, config.force, setting)
        designs = kind(config).designs(info)
        depth = len(stack_of(info.family).forms(info.transformer))
        for design in designs:
            design.check(depth)
        if all(design.never for design in designs):
            return Prediction(False, "threshold 0 computes every step", f"skips 0 of {steps}")
        if len(designs) == 1 and designs[0].indicator().blind:
            skipped = simulate(designs[0], sigmas_of(info, setting)).count(False)
            return Prediction(skipped > 0, "decided by the schedule alone", f"skips {skipped} of {steps}")
        return Prediction(True, "how much is skipped depends on the picture")

    return predict


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
    from fastdiffusers.schedulers.flow_match_euler import FlowMatchEulerDiscreteScheduler
    from fastdiffusers.weights.layout import read_config

    scheduler = FlowMatchEulerDiscreteScheduler.from_config(read_config(info.path / "scheduler"))
    scheduler.set_image_timesteps(info.tokens(setting.height, setting.width), setting.steps)
    return scheduler.sigmas[:-1][-effective_steps(setting) :]
