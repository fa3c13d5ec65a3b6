"""Published networks that pictures are judged by beside the scorer: CLIP by captions, Inception by distances.

What one of them says of a set is kept beside its pictures. No Paddle at the top.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from fastdiffusers.evaluation.crew import Crew, Task
from fastdiffusers.evaluation.meter import Meter
from fastdiffusers.evaluation.picture_set import PictureSet, load_chunk, save_chunk

CLIP, INCEPTION = "clip", "inception"
_LOADERS = {CLIP: "fastdiffusers.scorer.clip:load_clip", INCEPTION: "fastdiffusers.scorer.inception:load_inception"}
_METHODS = {CLIP: "embed_images", INCEPTION: "features"}


@dataclass(frozen=True)
class Backbone:
    """A network by its kind and its folder or file; opening it (`network`) may raise `WeightsError`."""

    kind: str
    place: str

    @property
    def network(self) -> Any:
        """The loaded network, kept in this process."""
        return _opened(self.kind, self.place)

    @property
    def label(self) -> str:
        """For reports: its name and the beginning of its hash."""
        return f"{self.network.name} ({self.network.sha256[:12]})"

    @property
    def name(self) -> str:
        """For headings of tables."""
        return str(self.network.name)

    def see(self, pictures: Any) -> np.ndarray:
        """float32 ``[N, D]``: CLIP's unit vectors, or Inception's features."""
        found: np.ndarray = getattr(self.network, _METHODS[self.kind])(pictures)
        return found

    def see_set(self, item: PictureSet, root: Path, crew: Crew, show: bool = True) -> np.ndarray:
        """The same of a set whose pictures are on disk, by workers; what was seen before is read back."""
        kind = f"{self.kind}-{self.network.sha256[:12]}"
        folder = str(item.folder(root))
        given = {"folder": folder, "kind": self.kind, "place": self.place, "name": kind}
        tasks = [Task(f"{__name__}:see_chunk", {**given, "chunk": i}) for i in item.missing(root, kind)]
        if tasks:
            with Meter(f"judging by {self.name}", len(tasks), "chunks", show) as meter:
                crew.run(tasks, lambda task, result: meter.add(1))
        return item.load(root, kind)


def see_chunk(folder: str, chunk: int, kind: str, place: str, name: str) -> None:
    """What a worker does: one chunk of pictures as a network sees them."""
    pictures = load_chunk(Path(folder), "pictures", chunk)
    save_chunk(Path(folder), name, chunk, Backbone(kind, place).see(pictures))


@lru_cache(maxsize=2)
def _opened(kind: str, place: str) -> Any:
    module, _, name = _LOADERS[kind].partition(":")
    return getattr(importlib.import_module(module), name)(Path(place))


def few_note(count: int, features: int) -> str:
    """What must be said of a Fréchet distance of ``count`` pictures in that many features; empty if nothing."""
    if count > 10 * features:
        return ""
    more = ", and the covariances are singular" if count <= features else ""
    return (
        f"N = {count} is few for {features} features{more}: even two sets of one model are far apart, so only what "
        "lies above the floor, at the same N, says anything"
    )
