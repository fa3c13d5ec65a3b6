"""Paddle's static graph: the blocks traced to one program of the new IR, run by Paddle's own executor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import paddle

from fastdiffusers.compilation.engine import Built, Engine
from fastdiffusers.compilation.segment import PROGRAM, Segment
from fastdiffusers.models.place import on_cpu


class StaticEngine(Engine):
    """On a CPU the program is read from its file; on a GPU it is traced anew, so that weights are there once."""

    name = "static"

    def __init__(self, dtype: str) -> None:
        self.dtype = dtype
        self.filed = on_cpu()  # type: ignore[misc]
        self.tolerance = 1e-4 if dtype == "float32" else 0.1

    @property
    def label(self) -> str:
        return f"Paddle's static graph in {self.dtype}"

    def require(self) -> None:
        """It is always there."""

    def build(self, segment: Segment, files: Path | None) -> Built:
        if files is None:
            static = paddle.jit.to_static(segment.forward, full_graph=True, backend=None)
            return Built(lambda tensors: listed(static(list(tensors))))
        program = paddle.jit.load(str(files / PROGRAM))
        return Built(lambda tensors: listed(program(*tensors)))


def listed(found: Any) -> list[Any]:
    """One tensor or several, as a list."""
    return list(found) if isinstance(found, tuple | list) else [found]
