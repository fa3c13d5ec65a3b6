"""How far a long drawing is: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any

SECONDS_BETWEEN_LINES = 60.0


class Meter:
    """Counts units of work (pictures times steps, say) up to ``total``, on stderr; use it in ``with``."""

    def __init__(self, what: str, total: int, unit: str, enabled: bool = True) -> None:
        self._what, self._total, self._unit, self._enabled = what, total, unit, enabled
        self._done = 0
        self._bar: Any = None

    def __enter__(self) -> Meter:
        self._began = self._said = time.perf_counter()
        if self._enabled and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

            columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[rate]}"))
            self._bar = Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True)
            self._bar.start()
            self._task = self._bar.add_task(self._what, total=self._total, rate="")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    @property
    def rate(self) -> float:
        """Units a second since the start."""
        return self._done / max(1e-9, time.perf_counter() - self._began)

    def add(self, units: int) -> None:
        """Say that this much more is done."""
        self._done += units
        rate = f"{self.rate:.0f} {self._unit}/s"
        if self._bar is not None:
            self._bar.update(self._task, completed=self._done, rate=rate)
        elif self._enabled and (time.perf_counter() - self._said > SECONDS_BETWEEN_LINES or self._done >= self._total):
            self._said = time.perf_counter()
            left = (self._total - self._done) / max(self.rate, 1e-9) / 60
            print(f"{self._what}: {self._done / self._total:.0%}, {rate}, {left:.0f} min left", file=sys.stderr)
