"""Chance that belongs to examples, not to processes: a batch is the same however many processes share it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


class RowChance:
    """The generators of the examples ``first`` … ``first + count`` − 1 of one batch, drawn from together.

    It has the methods of `numpy.random.Generator` that losses use; the first dimension of what is drawn are the
    examples. ``common`` is for what the whole batch has in common, over all processes.
    """

    def __init__(self, seed: int, batch: int, first: int, count: int) -> None:
        self._rows = [np.random.default_rng([seed, 3, batch, row]) for row in range(first, first + count)]
        self.common = np.random.default_rng([seed, 4, batch])

    def integers(self, low: int, high: int | None = None, size: int | Sequence[int] | None = None) -> Any:
        """Whole numbers from 0 to below ``low``, or from ``low`` to below ``high``."""
        return self._each(size, lambda row, rest: row.integers(low, high, size=rest))

    def random(self, size: int | Sequence[int] | None = None) -> Any:
        """Uniform in [0, 1)."""
        return self._each(size, lambda row, rest: row.random(rest))

    def uniform(self, low: float = 0.0, high: float = 1.0, size: int | Sequence[int] | None = None) -> Any:
        """Uniform in [low, high)."""
        return self._each(size, lambda row, rest: row.uniform(low, high, rest))

    def standard_normal(self, size: int | Sequence[int] | None = None, dtype: Any = np.float64) -> Any:
        """N(0, 1)."""
        return self._each(size, lambda row, rest: row.standard_normal(rest, dtype=dtype))

    def choice(self, pool: Any, size: int) -> Any:
        """Some of ``pool``, for any number of examples: by the first one's generator."""
        return self._rows[0].choice(pool, size)

    def _each(self, size: int | Sequence[int] | None, draw: Any) -> Any:
        shape = (size,) if isinstance(size, int | np.integer) else tuple(size or ())
        if not shape or shape[0] != len(self._rows):
            raise ValueError(f"chance for {len(self._rows)} examples was asked for an array of shape {list(shape)}")
        return np.stack([np.asarray(draw(row, shape[1:])) for row in self._rows])
