"""Schedules of computed steps: as a user writes them, and as they are kept beside a model. No Paddle."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from fastdiffusers.errors import InputError, PlanError
from fastdiffusers.models.info import ModelInfo
from fastdiffusers_caching import calibration_file


@dataclass(frozen=True)
class Schedule:
    """The ``computed`` steps; ``steps`` is the number of steps it is made for, None when it does not say."""

    computed: frozenset[int]
    steps: int | None = None

    @property
    def bits(self) -> str:
        """The 0/1 string."""
        return "".join(str(int(step in self.computed)) for step in range(self.steps or max(self.computed) + 1))

    @property
    def fingerprint(self) -> str:
        """Twelve hexadecimal digits that differ where the schedule does."""
        return hashlib.sha256(self.bits.encode()).hexdigest()[:12]


def read_schedule(mask: str) -> Schedule:
    """``"0/1/5/9"`` (computed steps) or ``"1100100010"`` (a sign for each step); the first step must be computed."""
    if len(mask) > 1 and set(mask) <= {"0", "1"}:
        schedule = Schedule(frozenset(i for i, sign in enumerate(mask) if sign == "1"), len(mask))
    elif all(part.isascii() and part.isdecimal() for part in mask.split("/")):
        schedule = Schedule(frozenset(map(int, mask.split("/"))))
    else:
        raise InputError(f"mask {mask!r} is neither computed steps such as 0/1/5/9 nor a string of 0 and 1")
    if 0 not in schedule.computed:
        raise InputError(f"mask {mask!r} does not compute step 0, when there is nothing to reuse yet")
    return schedule


def check_steps(schedule: Schedule, steps: int) -> None:
    """`PlanError` when a schedule is not for this number of steps."""
    latest = max(schedule.computed)
    if schedule.steps not in (None, steps):
        raise PlanError(f"the mask is for {schedule.steps} steps, here are {steps}; give one for {steps}")
    if latest >= steps:
        raise PlanError(f"the mask computes step {latest}, here are steps 0 to {steps - 1}; give one of these")


def forecast_words(order: int, damping: float, mark: str = "", joint: str = ":") -> str:
    """The options of ``static`` that say what is forecast, none for plain reuse: ``:order=1:damping=0.7``."""
    words = [f"order{mark or '='}{order}"] if order else []
    words += [f"damping{mark or '='}{damping:g}"] if order and damping != 1 else []
    return "".join(joint + word for word in words)


def keep_schedule(schedule: Schedule, error: float, info: ModelInfo, order: int = 0, damping: float = 1.0) -> Any:
    """Keep a searched schedule with its error; one for the same steps, budget and forecast is replaced.

    Returns the file.
    """
    try:
        entries = calibration_file.read("static", info, _parse) or {}
    except PlanError:  # made for other weights, or damaged: nothing in it is of use
        entries = {}
    key = _key(len(schedule.computed), schedule.steps, order, damping)
    entries[key] = {"mask": schedule.bits, "relative_l1": error}
    return calibration_file.write("static", {"masks": entries}, info)


def kept_schedule(info: ModelInfo, budget: int, steps: int, order: int = 0, damping: float = 1.0) -> Schedule:
    """The schedule that was searched for; a `PlanError` with the command when there is none for this forecast."""
    entries = calibration_file.read("static", info, _parse) or {}
    entry = entries.get(_key(budget, steps, order, damping))
    if entry is None:
        words = calibration_file.command("static", info)
        forecast = forecast_words(order, damping, mark=" ", joint=" --")
        raise PlanError(
            f"static has no mask of {budget} computed steps out of {steps} for {info.name}"
            f"{' with' + forecast_words(order, damping, joint=' ') if order else ''}: run `{words} "
            f"--budget {budget} --steps {steps}{forecast}` once, or give mask=…"
        )
    return read_schedule(entry["mask"])


def _key(budget: int, steps: int | None, order: int, damping: float) -> str:
    """Under which a schedule is kept, such as ``11/28`` and ``11/28/order=1``."""
    return f"{budget}/{steps}{forecast_words(order, damping, joint='/')}"


def _parse(content: dict[str, Any]) -> dict[str, dict[str, Any]]:
    masks = content["masks"]
    for entry in masks.values():
        try:
            read_schedule(entry["mask"])
        except InputError as error:
            raise ValueError(str(error)) from None
    return dict(masks)
