"""A schedule that is given or was searched for: which steps are computed is known beforehand.

The mask is the computed steps (``0/1/5/9``) or a 0/1 string with a sign for each step; ``fastdiff calibrate static``
searches the best one for a number of computed steps and keeps it beside the model, where ``budget=N`` finds it: the one
that was searched for with the same order and damping, since the best steps to compute depend on what is forecast.
"""

from __future__ import annotations

from dataclasses import dataclass

from fastdiffusers.accelerator import Prediction, Setting
from fastdiffusers.caching.cache import Cache
from fastdiffusers.caching.design import Design, Rules
from fastdiffusers.caching.estimators import RESIDUAL, Taylor
from fastdiffusers.caching.indicators import Mask
from fastdiffusers.caching.preset import effective_steps, predict_cache, preset
from fastdiffusers.caching.scopes import Stack
from fastdiffusers.errors import InputError, PlanError
from fastdiffusers.models.info import ModelInfo
from fastdiffusers_caching import calibration_file
from fastdiffusers_caching.masks import Schedule, check_steps, kept_schedule, read_schedule
from fastdiffusers_caching.options import force, option


@dataclass(frozen=True)
class StaticConfig:
    """Options of ``static``: a mask, or the number of computed steps of one that was searched for."""

    mask: str | None = option(None, "computed steps (0/1/5/9) or a 0/1 string, one sign for each step")
    budget: int | None = option(None, "number of computed steps of a mask found by `fastdiff calibrate static`", min=1)
    steps: int | None = option(None, "with budget, the number of steps searched for; none: the model's default", min=1)
    order: int = option(0, "order of the Taylor forecast of the residual; 0 reuses the last one", min=0, max=4)
    damping: float = option(1.0, "factor by which each further order of the forecast counts less", min=0.0, max=1.0)
    force: bool = force()

    def __post_init__(self) -> None:
        if self.mask is not None and self.budget is not None:
            raise InputError("mask and budget both say which steps are computed; give one of them")
        if self.mask is not None:
            read_schedule(self.mask)
        if self.damping != 1 and self.order == 0:
            raise InputError(f"damping {self.damping:g} means nothing with order=0; give order=1 or more")


class Static(Cache):
    """Whole stack; a mask; residual or its forecast."""

    config: StaticConfig

    def designs(self, info: ModelInfo) -> tuple[Design, ...]:
        schedule = schedule_of(self.config, info)
        order, damping = self.config.order, self.config.damping
        fingerprint = schedule.fingerprint if self.config.mask is None else ""
        indicator = lambda: Mask(schedule.computed, schedule.steps)  # noqa: E731
        return (Design(Stack(), indicator, lambda: Taylor(RESIDUAL, order, damping=damping), Rules(), fingerprint),)


def schedule_of(config: StaticConfig, info: ModelInfo) -> Schedule:
    """The schedule that the options name; a `PlanError` when there is none."""
    if config.mask is not None:
        return read_schedule(config.mask)
    if config.budget is None:
        words = calibration_file.command("static", info)
        raise PlanError(f"static needs a mask: give mask=…, or run `{words} --budget N` once and give budget=N")
    return kept_schedule(info, config.budget, config.steps or info.default_setting.steps, config.order, config.damping)


def predict_static(config: StaticConfig, info: ModelInfo, setting: Setting) -> Prediction:
    """Refuse a mask that is not for this number of steps; the rest is known exactly."""
    prediction = predict_cache("static", Static)(config, info, setting)
    check_steps(schedule_of(config, info), effective_steps(setting))
    return prediction


SPEC = preset(
    "static",
    "compute the steps of a given mask, or of the best one that a search found",
    Static,
    StaticConfig,
    walks=False,
    predict=predict_static,
    trial="mask=0/1/4/6/7",
)
