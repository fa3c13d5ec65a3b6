"""A second place for a training's figures and pictures: a tracker with a page of its own. log.jsonl stays."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fastdiffusers.errors import MissingDependency

VISUALDL = "visualdl"


def check_tracker(name: str) -> None:
    """`MissingDependency` for a tracker whose package is not installed."""
    if name == VISUALDL and importlib.util.find_spec(VISUALDL) is None:
        raise MissingDependency("tracker=visualdl needs the package visualdl: `pip install visualdl`, or tracker=none")


class Tracker:
    """Writes to VisualDL's log folder ``visualdl/`` below ``folder`` (``visualdl --logdir FOLDER`` shows it), or, for
    the name ``none``, nowhere."""

    def __init__(self, name: str, folder: Path) -> None:
        check_tracker(name)
        self._writer: Any = None
        if name == VISUALDL:
            from visualdl import LogWriter

            self._writer = LogWriter(logdir=str(folder / VISUALDL))

    def figures(self, kind: str, step: int, values: Mapping[str, Any]) -> None:
        """Numbers of a step, under ``KIND/NAME``; what is no number is left out."""
        if self._writer is None:
            return
        for name, value in values.items():
            if isinstance(value, int | float) and not isinstance(value, bool):
                self._writer.add_scalar(tag=f"{kind}/{name}", value=float(value), step=step)

    def picture(self, step: int, grid: np.ndarray) -> None:
        """A picture of a step, uint8 ``[H, W, 3]``."""
        if self._writer is not None:
            self._writer.add_image(tag="samples", img=grid, step=step)

    def close(self) -> None:
        """Write out what is left."""
        if self._writer is not None:
            self._writer.close()
