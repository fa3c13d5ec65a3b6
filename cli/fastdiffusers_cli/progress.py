"""Progress bars on stderr, by steps or by runs; nothing at all when stderr is no terminal."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Any


class StepBar:
    """Counts steps over several pictures; use it in ``with``."""

    def __init__(self, pictures: int, enabled: bool = True) -> None:
        self._pictures = pictures
        self._picture = 0
        self._bar: Any = None
        self._task: Any = None
        if enabled and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.fields[count]}"),
                TimeRemainingColumn(),
                console=Console(stderr=True),
                transient=True,
            )

    def __enter__(self) -> StepBar:
        if self._bar is not None:
            self._bar.start()
            self._task = self._bar.add_task("loading", total=None, count="")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def next_picture(self) -> None:
        """Say that the next picture begins."""
        self._picture += 1

    def step(self, done: int, steps: int) -> None:
        """``done`` of ``steps`` of the present picture are computed."""
        if self._bar is not None:
            name = "drawing" if self._pictures == 1 else f"picture {self._picture}/{self._pictures}"
            total = steps * self._pictures
            completed = steps * (self._picture - 1) + done
            count = f"{completed}/{total} steps"
            self._bar.update(self._task, description=name, total=total, completed=completed, count=count)


class RoundBar:
    """Which arm is running and how many rounds are done; use it in ``with``."""

    def __enter__(self) -> RoundBar:
        self._bar: Any = None
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
            self._bar = Progress(*columns, console=Console(stderr=True), transient=True)
            self._bar.start()
            self._task = self._bar.add_task("loading", total=None)
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, what: str, done: int, total: int) -> None:
        if self._bar is not None:
            self._bar.update(self._task, description=what, completed=done, total=total)
