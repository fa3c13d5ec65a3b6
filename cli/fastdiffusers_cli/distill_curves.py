"""``fastdiff distill curves``: how trainings went, as tables and as a picture."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ILL = "!"


def curves(words: list[str], out: Path | None = None, json: bool = False) -> None:
    """Print the validations of the trainings in ``words`` (output folders or logs), and draw all curves to ``out``."""
    from fastdiffusers.distillation.health import LIMITS
    from fastdiffusers.errors import InputError, one_of
    from fastdiffusers.training.curves import LOG, SUFFIXES, VALIDATED, draw_curves, name_apart, read_curves
    from fastdiffusers_cli.output import print_json, print_table

    if not words:
        raise InputError(f"curves needs the output folder of a training, or its {LOG}: fastdiff distill curves FOLDER")
    if out is not None and out.suffix.lower() not in SUFFIXES:
        raise InputError(one_of("ending of --out:", out.suffix, SUFFIXES))
    paths = [Path(word) for word in words]
    found = [read_curves(path) for path in paths]
    name_apart(found, paths)
    limits = {name: (low, high) for name, (low, high, _) in LIMITS.items()}
    if out is not None:
        draw_curves(found, out, limits)
    if json:
        print_json({"trainings": [one.to_dict() for one in found], "out": None if out is None else str(out)})
        return
    ill = False
    for one in found:
        print(f"{one.name}: {one.end}")
        rows = [[row["step"], *(_figure(row, name, limits) for name in VALIDATED)] for row in one.rows()]
        ill = ill or any(ILL in str(cell) for row in rows for cell in row)
        if rows:
            print_table(["step", *VALIDATED], rows, right=["step", *VALIDATED])
        print()
    if ill:
        valid = ", ".join(f"{name} {low:g} to {high:g}" for name, (low, high) in limits.items())
        print(f"{ILL} no number, or outside of what is healthy, relative to the teacher: {valid}")
    if out is not None:
        print(f"drawn: {out}")


def _figure(row: Mapping[str, Any], name: str, limits: Mapping[str, tuple[float, float]]) -> str | None:
    value = row.get(name)
    if value is None:
        return None
    low, high = limits.get(name, (-math.inf, math.inf))
    return f"{value:.3f}" + ("" if math.isfinite(value) and low <= value <= high else ILL)
