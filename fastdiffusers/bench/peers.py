"""Points that others measured, to be shown beside ours: other programs on the same weights, prompts and noise."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from fastdiffusers.errors import InputError

NUMBERS = ("speedup", "psnr", "ssim", "rel_l1", "computed")


def read_peers(path: Path, steps: int) -> list[dict[str, Any]]:
    """Those of a file's points that were sampled with ``steps`` steps.

    The file is a JSON list, or an object with a list called ``points``, of objects with ``name``, ``setting``,
    ``steps``, ``speedup`` (over their own uncached run) and ``psnr``, and perhaps ``ssim``, ``rel_l1`` and ``computed``
    (share of the evaluations). Anything else is an `InputError`.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read the peers {str(path)!r}: {' '.join(str(error).split())}") from None
    if isinstance(data, dict):
        data = data.get("points")
    if not isinstance(data, list):
        raise InputError(f"the peers {str(path)!r} are no JSON list of points")
    return [_point(entry, number, path) for number, entry in enumerate(data) if _steps(entry, number, path) == steps]


def _steps(entry: Any, number: int, path: Path) -> Any:
    if not isinstance(entry, dict) or not isinstance(entry.get("steps"), int):
        raise InputError(f"point {number} of {str(path)!r} has no steps; it needs name, setting, steps, speedup, psnr")
    return entry["steps"]


def _point(entry: dict[str, Any], number: int, path: Path) -> dict[str, Any]:
    point: dict[str, Any] = {"name": str(entry.get("name", "")), "setting": str(entry.get("setting", ""))}
    for key in NUMBERS:
        value = entry.get(key)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise InputError(f"point {number} of {str(path)!r}: {key} must be a number, got {value!r}")
        point[key] = float(value) if value is not None and math.isfinite(value) else None
    if not point["name"] or point["speedup"] is None:
        raise InputError(f"point {number} of {str(path)!r} needs a name and a speedup")
    return point
