"""What a training says: ``log.jsonl`` for programs, a progress bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from fastdiffusers.training.tracker import Tracker

TRACKED = ("train", "validation")


class TrainingLog:
    """Means of the metrics since the last line, speed and expected time, every ``every`` steps.

    Use as a context manager. ``quiet`` (the other workers) writes nothing.
    """

    def __init__(
        self, folder: Path, title: str, steps: int, batch: int, every: int, quiet: bool = False, tracker: str = "none"
    ) -> None:
        self.steps, self.batch, self.every, self.quiet = steps, batch, every, quiet
        self.path = folder / "log.jsonl"
        self.tracker = Tracker("none" if quiet else tracker, folder)
        self._title = title
        self._sums: dict[str, tuple[float, int]] = {}  # total and how many steps had this metric
        self._count = 0
        self._console = Console(file=sys.stderr, highlight=False)
        self._progress: Progress | None = None
        self._began = self._last = self._added = time.monotonic()
        self._first_step: int | None = None

    def __enter__(self) -> TrainingLog:
        if not self.quiet and self._console.is_terminal:
            self._progress = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[figures]}"),
                console=self._console,
            )
            self._bar = self._progress.add_task(self._title, total=self.steps, figures="")
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._progress is not None:
            self._progress.stop()
        self.tracker.close()

    def add(self, step: int, metrics: Mapping[str, float]) -> None:
        """Take in the metrics of step ``step`` (from 0); none of a step that was skipped."""
        if self.quiet:
            return
        if self._first_step is None:
            self._first_step = step
        for name, value in metrics.items():
            total, count = self._sums.get(name, (0.0, 0))
            self._sums[name] = total + value, count + 1
        self._count += 1
        if (step + 1) % self.every == 0 or step + 1 == self.steps:
            now = time.monotonic()
            speed = self._count * self.batch / max(1e-9, now - self._last)
            figures = {name: total / count for name, (total, count) in self._sums.items()}
            left = (self.steps - step - 1) * (now - self._began) / (step + 1 - self._first_step)
            self.event("train", step=step + 1, samples_per_s=round(speed, 2), eta_s=round(left), **figures)
            self._sums, self._count, self._last = {}, 0, now
            words = " ".join(f"{name} {value:.4g}" for name, value in figures.items())
            self.say(
                f"step {step + 1}/{self.steps} {words} {speed:.1f}/s, {left / 60:.1f} min left",
                f"{words} {speed:.1f}/s",
            )
        if self._progress is not None:
            self._progress.update(self._bar, completed=step + 1)
        self._added = time.monotonic()

    def say(self, line: str, figures: str | None = None) -> None:
        """A line for people; on a terminal ``figures`` goes beside the bar instead."""
        if self.quiet:
            return
        if self._progress is None:
            self._console.print(line, markup=False, soft_wrap=True)
        elif figures is not None:
            self._progress.update(self._bar, figures=figures)
        else:
            self._progress.console.print(line, markup=False)

    def event(self, kind: str, **values: Any) -> None:
        """A line of log.jsonl, null for what is no number; figures of training and validation go to the tracker too."""
        if kind in TRACKED:
            figures = {name: value for name, value in values.items() if name != "step" and _is_number(value)}
            self.tracker.figures(kind, values["step"], figures)
        if not self.quiet:
            values = {name: value if _is_number(value) else None for name, value in values.items()}
            line = json.dumps({"event": kind, "time": round(time.time(), 1), **values})
            with open(self.path, "a+b") as stream:
                stream.seek(0, 2)
                if end := stream.tell():
                    stream.seek(end - 1)
                torn = end and stream.read(1) != b"\n"  # of a training that was killed, or had no room
                stream.write((("\n" if torn else "") + line + "\n").encode())

    def skip_time(self) -> None:
        """Leave out the time since the last call of `add` (pictures, checkpoints) from the speed of the next line."""
        now = time.monotonic()
        self._last += now - self._added
        self._added = now


def _is_number(value: Any) -> bool:
    """False for infinity and what is not a number, which JSON does not have; other values are left alone."""
    return not isinstance(value, float) or math.isfinite(value)
