"""Reads what was prepared: memory-mapped, from any process, in any order. No Paddle but for drawn latents' noise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from fastdiffusers.distillation.data.files import (
    CAPTIONS,
    EXAMPLE,
    EXAMPLES,
    FORMAT,
    STORE,
    Size,
    array_file,
    load_json,
    map_array,
)
from fastdiffusers.errors import InputError

MAPPED = 512
"""Files that stay mapped."""


@dataclass(frozen=True)
class Examples:
    """One batch, float32 unless said.

    Attributes:
        latents: ``[B, tokens, channels]``, packed and scaled: what the transformer sees at σ = 0; of a UNet
            ``[B, channels, h, w]``.
        text: ``[B, T, J]``, the text encoder's sequences.
        pooled: ``[B, P]``, CLIP's vectors; P = 0 for models that are told none.
        size: height and width in pixels, the same for the batch.
        captions: the texts.
        guidance: ``[B]``, what drawn latents were drawn with; None for pictures.
        states: ``[B, N + 1, …]``, the teacher's states at kept levels, from the noise to the latents;
            None without trajectories.
        noise: what drawn latents started from, exactly; None for pictures.
    """

    latents: np.ndarray
    text: np.ndarray
    pooled: np.ndarray
    size: Size
    captions: list[str]
    guidance: np.ndarray | None
    states: np.ndarray | None
    noise: np.ndarray | None


class Store:
    """The prepared examples of a folder. ``meta`` is its record: model, source, counts, noise levels of the states."""

    def __init__(self, folder: Path, meta: dict[str, Any], captions: list[str], examples: np.ndarray) -> None:
        self.folder, self.meta = folder, meta
        self._captions, self._examples = captions, examples
        self._sizes: list[Size] = [(height, width) for height, width in meta["sizes"]]
        self._buckets = [np.flatnonzero(examples["bucket"] == i) for i in range(len(self._sizes))]
        self._map: Callable[[Path], np.ndarray] = lru_cache(maxsize=MAPPED)(map_array)

    @classmethod
    def open(cls, folder: Path) -> Store:
        """The store in ``folder``; `InputError` if there is none, or none that is complete."""
        folder = Path(folder)
        if not (folder / STORE).is_file():
            raise InputError(f"{str(folder)!r} holds no complete preparation of data; start it again to finish it")
        meta = load_json(folder / STORE)
        if meta.get("format") != FORMAT:
            raise InputError(f"{str(folder)!r} has format {meta.get('format')}, this version reads {FORMAT}; remove it")
        examples = np.array(map_array(folder / EXAMPLES))
        if examples.dtype != EXAMPLE:
            raise InputError(f"{str(folder / EXAMPLES)!r} is damaged; remove its folder")
        return cls(folder, meta, load_json(folder / CAPTIONS), examples)

    def __len__(self) -> int:
        return len(self._examples)

    def examples(self, rows: np.ndarray, rng: np.random.Generator) -> Examples:
        """The examples ``rows``, all of the size that the first one has.

        A row of another size is replaced by one of this size, drawn from ``rng``; a batch of one, and any batch of a
        store with one size, is exactly what was asked for, and ``rng`` is left alone.
        """
        rows = np.array(rows, dtype=np.int64)
        if not len(rows) or rows.min() < 0 or rows.max() >= len(self):
            raise InputError(f"rows {rows[:4].tolist()} of {len(self)} examples; valid are 0 to {len(self) - 1}")
        bucket = self._examples["bucket"][rows[0]]
        foreign = self._examples["bucket"][rows] != bucket
        if foreign.any():
            rows[foreign] = rng.choice(self._buckets[bucket], int(foreign.sum()))
        chosen, size = self._examples[rows], self._sizes[bucket]
        latents = self._gather("latents", chosen["chunk"], chosen["row"], size)
        text, pooled = self._texts(chosen["caption"])
        captions = [self._captions[i] for i in chosen["caption"]]
        if not self.meta["drawn"]:
            return Examples(latents, text, pooled, size, captions, None, None, None)
        noise = self._noise(chosen["seed"], latents.shape[1:], size)
        states = None
        if self.meta["state_sigmas"] is not None:
            parts = [noise[:, None], latents[:, None]]
            if len(self.meta["state_sigmas"]) > 2:
                parts.insert(1, self._gather("states", chosen["chunk"], chosen["row"], size))
            states = np.concatenate(parts, axis=1)
        return Examples(latents, text, pooled, size, captions, chosen["guidance"].copy(), states, noise)

    def empty(self) -> tuple[np.ndarray, np.ndarray]:
        """Embeddings of the empty caption: ``[1, T, J]`` and ``[1, P]``."""
        return self._texts(np.zeros(1, np.int64))

    def captions(self, rows: np.ndarray) -> list[str]:
        """The captions of some examples."""
        return [self._captions[i] for i in self._examples["caption"][np.asarray(rows, np.int64)]]

    def size_of(self, row: int) -> Size:
        """Height and width of an example in pixels."""
        return self._sizes[self._examples["bucket"][row]]

    def describe(self) -> list[str]:
        """Lines for reports: how many examples, of which sizes, from where."""
        sizes = {f"{w}x{h}": len(rows) for (h, w), rows in zip(self._sizes, self._buckets, strict=True) if len(rows)}
        shown = ", ".join(f"{name} ({count})" for name, count in sizes.items()) if len(sizes) > 1 else next(iter(sizes))
        return [f"{len(self)} examples of {shown}, {len(self._captions) - 1} different captions", self.meta["source"]]

    def _texts(self, captions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        chunk, row = np.divmod(captions, self.meta["texts"]["rows"])
        return self._gather("text", chunk, row), self._gather("pooled", chunk, row)

    def _gather(self, kind: str, chunks: np.ndarray, rows: np.ndarray, size: Size | None = None) -> np.ndarray:
        """Rows of chunks of one kind, as float32 in the order asked for."""
        result: np.ndarray | None = None
        for chunk in np.unique(chunks):
            here = np.flatnonzero(chunks == chunk)
            path = array_file(self.folder, kind, int(chunk), size)
            values = self._map(path)
            if len(values) <= rows[here].max():
                raise InputError(f"{str(path)!r} has {len(values)} rows, too few; remove its folder")
            if result is None:
                result = np.empty((len(rows), *values.shape[1:]), np.float32)
            result[here] = values[rows[here]]
        assert result is not None
        return result

    def _noise(self, seeds: np.ndarray, shape: tuple[int, ...], size: Size) -> np.ndarray:
        from fastdiffusers.noise import picture_noise
        from fastdiffusers.pipelines.pixels import pack

        numbers = [int(seed) for seed in seeds]
        if len(shape) == 3:
            return np.asarray(picture_noise((shape[0], shape[1], shape[2]), numbers), np.float32)
        cell = self.meta["cell"] // 2
        drawn = picture_noise((shape[1] // 4, size[0] // cell, size[1] // cell), numbers)
        return np.asarray(pack(drawn), np.float32)
