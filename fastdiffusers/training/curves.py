"""The curves of trainings: what their logs say over the steps, as rows and as a picture. No Paddle."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fastdiffusers.errors import InputError
from fastdiffusers.files import atomic_write

LOG, START = "log.jsonl", "start"
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

    def forget(self, step: int) -> None:
        """Leave out what was said of later steps: a training that goes on from ``step`` says it again."""
        for series in (self.validations, self.training, self.warnings):
            for late in [one for one in series if one > step]:
                del series[late]

    def to_dict(self) -> dict[str, Any]:
        """For JSON: figures that are no numbers are null."""
        training = [{"step": step, **figures} for step, figures in sorted(self.training.items())]
        told = {"validations": self.rows(), "training": training}
        return {"name": self.name, "end": self.end, **{name: list(map(_finite, rows)) for name, rows in told.items()}}


def _finite(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: None if isinstance(v, float) and not math.isfinite(v) else v for name, v in row.items()}


def read_curves(path: Path) -> Curves:
    """The log of a training: its output folder, or the ``log.jsonl`` itself.

    A training that was cut and went on has said some steps twice, and one that began anew all of them; the later lines
    count. `InputError` for what is no such log.
    """
    file = path / LOG if path.is_dir() else path
    if not file.is_file():
        raise InputError(f"{str(file)!r} is not there; valid is the output folder of a training, or its {LOG}")
    found = Curves(file.resolve().parent.name if file.name == LOG else file.stem)
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{str(file)!r} cannot be read as a log of a training: {error}") from error
    lines = text.splitlines()
    damaged = 0  # the number of a line that is no event
    for number, line in enumerate(lines, 1):
        event = _event(line)
        if damaged and (damaged == 1 or event is None or event["event"] != START):
            break
        damaged = 0 if event is not None else number
        if event is not None:
            _take(found, event)
    writing = damaged == len(lines) > 1 and not text.endswith("\n")  # the training has not finished its last line
    if damaged and not writing:
        raise InputError(f"{str(file)!r} is no log of a training: line {damaged} is no event")
    if not lines:
        raise InputError(f"{str(file)!r} is empty; valid is the log of a training")
    if not found.end:
        last = max((*found.validations, *found.training), default=0)
        found.end = f"not at its end, step {last}"
    return found


def name_apart(curves: Sequence[Curves], paths: Sequence[Path]) -> None:
    """Where two have the same name, name each by its place."""
    names = [one.name for one in curves]
    for one, path in zip(curves, paths, strict=True):
        if names.count(one.name) > 1:
            one.name = str(path)


def _event(line: str) -> dict[str, Any] | None:
    """What a line says; None if it is no event, or one with a step that is none."""
    try:
        event = json.loads(line)
    except json.JSONDecodeError:
        return None
    if not isinstance(event, dict) or not isinstance(event.get("event"), str):
        return None
    step = event.setdefault("step", 0)
    return event if isinstance(step, int) and not isinstance(step, bool) and step >= 0 else None


def _take(curves: Curves, event: Mapping[str, Any]) -> None:
    kind, step = event["event"], event["step"]
    if kind == START:
        curves.end = ""
        curves.forget(step)
    elif kind in ("validation", "train"):
        figures = {name: value for name, value in event.items() if name not in (*SPEED, "step", "time")}
        series = curves.validations if kind == "validation" else curves.training
        series[step] = {name: float(value) for name, value in figures.items() if isinstance(value, int | float)}
    elif kind == "warning":
        curves.warnings.setdefault(step, []).append(str(event.get("text", "")))
    elif kind == "ended":
        curves.end = f"ended after step {step}: {event.get('reason')}"
    elif kind == "end" and not curves.end:
        training = event.get("training")
        made = training if isinstance(training, dict) else {}
        best = f", kept: step {event['best_step']}" if "best_step" in event else ""
        why = f", ended: {made['ended']}" if made.get("ended") else ""
        curves.end = f"{made.get('steps')} steps, {made.get('minutes')} minutes{best}{why}"


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
