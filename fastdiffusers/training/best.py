"""The best weights of a training so far, by a figure of its validations."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import paddle
from safetensors import SafetensorError, safe_open
from safetensors.paddle import save_file

from fastdiffusers.errors import InputError, WeightsError, one_of
from fastdiffusers.files import atomic_write


class Best:
    """Keeps in ``path`` the weights whose ``figure`` was least. Runs that are resumed go on from the file."""

    def __init__(self, path: Path, figure: str) -> None:
        self.path, self.figure = path, figure

    def offer(self, step: int, figures: Mapping[str, float], weights: Mapping[str, paddle.Tensor]) -> bool:
        """Keep ``weights`` if they are better than what is kept; `InputError` where the figure is missing."""
        if self.figure not in figures:
            raise InputError(one_of("value of recipe key 'best_by':", self.figure, sorted(figures)))
        value = float(figures[self.figure])
        if not math.isfinite(value) or value >= self.value:
            return False
        notes = {"step": str(step), "value": repr(value), "figure": self.figure}
        with atomic_write(self.path) as temporary:
            save_file({name: weight.detach() for name, weight in weights.items()}, str(temporary), metadata=notes)
        return True

    @property
    def value(self) -> float:
        """The figure of what is kept; infinite if there is nothing."""
        return float(self._notes()["value"]) if self.path.is_file() else math.inf

    @property
    def step(self) -> int:
        """The step of what is kept."""
        return int(self._notes()["step"])

    def restore(self, weights: Mapping[str, paddle.Tensor]) -> None:
        """Set ``weights`` to what is kept."""
        with safe_open(str(self.path), framework="paddle") as reader, paddle.no_grad():
            for name, weight in weights.items():
                weight.set_value(reader.get_tensor(name))

    def forget(self) -> None:
        """Remove what is kept."""
        self.path.unlink(missing_ok=True)

    def _notes(self) -> Mapping[str, str]:
        try:
            with safe_open(str(self.path), framework="paddle") as reader:
                return dict(reader.metadata())
        except (OSError, SafetensorError) as error:
            raise WeightsError(f"{str(self.path)!r} is damaged ({error}); remove it to go on without it") from None
