"""The curves of trainings: what their logs say over the steps, as rows and as a picture. No Paddle."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fastdiffusers.errors import InputError
from fastdiffusers.files import atomic_write

LOG = "log.jsonl"
SUFFIXES = (".png", ".svg")
COLUMNS = 3
VALIDATED = ("rmse", "saturation", "contrast", "diversity")
TRAINED = ("loss", "critic_gap", "d_accuracy", "dmd_gradient")
"""Figures of validations and of training that are drawn where a log has them, a panel each."""
SPEED = ("samples_per_s", "eta_s", "lr")
Series = dict[int, dict[str, float]]


@dataclass
class Curves:
    """One log, by steps.

    Attributes:
        validations, training: the figures of a step.
        warnings: what the training said was wrong, by step.
        end: how it ended, or how far it has come, in words.
    """

    name: str
    validations: Series = field(default_factory=dict)
    training: Series = field(default_factory=dict)
    warnings: dict[int, list[str]] = field(default_factory=dict)
    end: str = ""

    def rows(self) -> list[dict[str, Any]]:
        """A row for every validation: the step, its figures, and what was warned of."""
        return [
            {"step": step, **figures, "warnings": self.warnings.get(step, [])}
            for step, figures in sorted(self.validations.items())
        ]

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        training = [{"step": step, **figures} for step, figures in sorted(self.training.items())]
        return {"name": self.name, "end": self.end, "validations": self.rows(), "training": training}


def read_curves(path: Path) -> Curves:
    """The log of a training: its output folder, or the ``log.jsonl`` itself.

    A training that was cut and went on has said some steps twice; the later line counts. `InputError` for what is no
    such log.
    """
    file = path / LOG if path.is_dir() else path
    if not file.is_file():
        raise InputError(f"{str(file)!r} is not there; valid is the output folder of a training, or its {LOG}")
    found = Curves(file.resolve().parent.name if file.name == LOG else file.stem)
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise InputError(f"{str(file)!r} is no log of a training: {error.reason} at byte {error.start}") from error
    for number, line in enumerate(lines, 1):
        event = _event(line)
        if event is None and number == len(lines):
            break  # the training is writing it
        if event is None:
            raise InputError(f"{str(file)!r} is no log of a training: line {number} is no event")
        _take(found, event)
    if not found.end:
        last = max((*found.validations, *found.training), default=0)
        found.end = f"not at its end, step {last}"
    return found


def _event(line: str) -> dict[str, Any] | None:
    try:
        event = json.loads(line)
    except json.JSONDecodeError:
        return None
    return event if isinstance(event, dict) and isinstance(event.get("event"), str) else None


def _take(curves: Curves, event: Mapping[str, Any]) -> None:
    kind, step = event["event"], int(event.get("step") or 0)
    if kind == "start":
        curves.end = ""
    elif kind in ("validation", "train"):
        figures = {name: value for name, value in event.items() if isinstance(value, int | float) and name not in SPEED}
        series = curves.validations if kind == "validation" else curves.training
        series[step] = {name: float(value) for name, value in figures.items() if name not in ("step", "time")}
        if kind == "validation":
            curves.warnings.pop(step, None)
    elif kind == "warning":
        curves.warnings.setdefault(step, []).append(str(event.get("text", "")))
    elif kind == "ended":
        curves.end = f"ended after step {step}: {event.get('reason')}"
    elif kind == "end" and not curves.end:
        made = event.get("training") or {}
        best = f", kept: step {event['best_step']}" if "best_step" in event else ""
        curves.end = f"{made.get('steps')} steps, {made.get('minutes')} minutes{best}"


def panels(curves: Sequence[Curves]) -> list[tuple[str, bool]]:
    """(figure, whether of validations) of all that can be drawn."""
    validated = {name for one in curves for figures in one.validations.values() for name in figures}
    trained = {name for one in curves for figures in one.training.values() for name in figures}
    return [(name, True) for name in VALIDATED if name in validated] + [
        (name, False) for name in TRAINED if name in trained
    ]


def draw_curves(curves: Sequence[Curves], path: Path, limits: Mapping[str, tuple[float, float]] | None = None) -> None:
    """A panel for each figure, a line for each log; ``limits`` are shaded. Needs matplotlib (extra ``plot``)."""
    from fastdiffusers.bench.plot import require_matplotlib

    require_matplotlib()
    logging.getLogger("matplotlib").setLevel(logging.WARNING)  # it tells of its fonts where others log more
    from matplotlib.figure import Figure

    shown = panels(curves)
    if not shown:
        raise InputError("none of the logs has figures of a validation or of training yet, so there is nothing to draw")
    columns = min(COLUMNS, len(shown))
    rows = -(-len(shown) // columns)
    figure = Figure(figsize=(4.2 * columns, 3.0 * rows + 0.6), layout="constrained")
    places = figure.subplots(rows, columns, squeeze=False).flatten()
    for place in places[len(shown) :]:
        place.axis("off")
    for place, (name, validated) in zip(places, shown, strict=False):
        low, high = (limits or {}).get(name, (None, None))
        if low is not None:
            place.axhspan(low, high, color="tab:green", alpha=0.08, zorder=0)
        for index, one in enumerate(curves):
            series = one.validations if validated else one.training
            steps = [step for step in sorted(series) if name in series[step]]
            values = [series[step][name] for step in steps]
            look = {"marker": "o", "markersize": 3.5} if validated else {"linewidth": 1.0}
            place.plot(steps, values, color=f"C{index % 10}", label=one.name, **look)
            ill = [step for step in steps if validated and step in one.warnings]
            place.plot(ill, [series[step][name] for step in ill], "x", color="black", zorder=4)
        place.set_title(f"{name} ({'validation' if validated else 'training'})", fontsize=9.5)
        place.grid(alpha=0.25)
        place.tick_params(labelsize=8)
        place.set_xlabel("step", fontsize=8)
    handles, names = places[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=max(1, min(4, len(names))), fontsize=8.5)
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=130, format=path.suffix[1:].lower())
