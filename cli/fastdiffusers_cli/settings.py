"""The words of the command line as a `Setting`: checked before anything is loaded."""

from __future__ import annotations

import dataclasses
import math
import re
from typing import TYPE_CHECKING

from fastdiffusers.accelerator import Setting
from fastdiffusers.errors import InputError

if TYPE_CHECKING:
    from fastdiffusers.models.info import ModelInfo


def make_setting(
    info: ModelInfo,
    base: Setting | None = None,
    *,
    steps: int | None = None,
    guidance: float | None = None,
    size: str | None = None,
    batch: int | None = None,
    strength: float | None = None,
    true_cfg: float | None = None,
) -> Setting:
    """``base`` (the model's default when None) with what was given on the command line in its place.

    Raises `InputError` for a value the model cannot draw with.
    """
    width, height = (None, None) if size is None else read_size(size)
    named = {"steps": steps, "guidance": guidance, "width": width, "height": height}
    named |= {"batch": batch, "strength": strength, "true_cfg_scale": true_cfg}
    changes = {name: value for name, value in named.items() if value is not None}
    setting = dataclasses.replace(base or info.default_setting, **changes)  # type: ignore[arg-type]
    check_setting(setting, info.unit)
    return setting


def read_size(text: str) -> tuple[int, int]:
    """``"96x64"`` as (width, height) in pixels; one number means a square."""
    found = re.fullmatch(r"(\d{1,6})(?:[x×](\d{1,6}))?", text.strip().lower(), re.ASCII)
    if not found:
        raise InputError(f"--size {text!r} is not valid; write WIDTHxHEIGHT in pixels, such as 96x96")
    return int(found[1]), int(found[2] or found[1])


def check_setting(setting: Setting, unit: int) -> None:
    """Raise `InputError` for the first value that is out of range; sides are multiples of ``unit`` pixels."""
    if setting.steps < 1:
        raise InputError(f"--steps {setting.steps} is not valid; it must be an integer of at least 1")
    if not math.isfinite(setting.guidance) or setting.guidance < 0:
        raise InputError(f"--guidance {setting.guidance:g} is not valid; it must be a number of at least 0")
    for name, value in (("width", setting.width), ("height", setting.height)):
        if value < unit or value % unit:
            below, above = max(unit, value // unit * unit), max(unit, -(-value // unit) * unit)
            nearest = f"{below}" if below == above else f"{below} or {above}"
            raise InputError(f"--size: {name} {value} is not valid; it must be a multiple of {unit}, such as {nearest}")
    if setting.batch < 1:
        raise InputError(f"--n {setting.batch} is not valid; it must be an integer of at least 1")
    if setting.strength is not None and not 0 < setting.strength <= 1:
        raise InputError(f"--strength {setting.strength:g} is not valid; it must be above 0 and at most 1")
    if not math.isfinite(setting.true_cfg_scale) or setting.true_cfg_scale < 1:
        raise InputError(f"--true-cfg {setting.true_cfg_scale:g} is not valid; it must be a number of at least 1")
