"""A set of pictures on disk, in chunks that are whole or not there: what makes a long drawing resumable. No Paddle."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from fastdiffusers.errors import InputError
from fastdiffusers.files import atomic_write

CHUNK = 64
"""Pictures of one file; at 50 steps the embedded model takes a core about half a minute for them."""
FORMAT = 1
RECORD = "set.json"


@dataclass(frozen=True)
class PictureSet:
    """Picture i shows ``prompts[i]`` and starts from the noise of ``seeds[i]``; all else is the same for all.

    ``model`` is what `fastdiffusers.load` takes and ``model_sha256`` what `ModelInfo.sha256` says of it. ``mu`` shifts
    the noise levels (`flow_sigmas`): 0 leaves them as they are, None takes the scheduler's own rule, as the pipeline.
    ``accel`` is an accelerator specification as on the command line; a cache decides for batches of 8 pictures.
    Sets that differ in anything have different folders, so a finished chunk is never mistaken for another's.
    """

    model: str
    model_sha256: str
    prompts: tuple[str, ...]
    seeds: tuple[int, ...]
    steps: int
    guidance: float = 3.5
    mu: float | None = None
    accel: str = ""

    def __post_init__(self) -> None:
        if not self.prompts or len(self.prompts) != len(self.seeds):
            raise InputError(f"{len(self.prompts)} prompts and {len(self.seeds)} seeds; give one of each for a picture")
        if self.steps < 1:
            raise InputError(f"steps is {self.steps}; it must be at least 1")
        if self.accel and self.mu is not None:
            raise InputError(f"mu={self.mu} goes around the scheduler, which {self.accel!r} is attached to; give one")

    def __len__(self) -> int:
        return len(self.prompts)

    @cached_property
    def name(self) -> str:
        """Of the folder: readable, and unique by a hash of everything that decides the pictures."""
        record = {**self._record(), "model": None, "format": FORMAT, "chunk": CHUNK}  # the same model may move
        digest = hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()
        shift = "rule" if self.mu is None else f"{self.mu:g}"
        return f"{self.steps:02d}-steps-mu-{shift}-{len(self)}-{digest[:12]}"

    def folder(self, root: Path) -> Path:
        """Where its chunks are, under ``root``."""
        return root / self.name

    @property
    def chunks(self) -> range:
        """Numbers of the chunks."""
        return range(-(-len(self) // CHUNK))

    def rows(self, chunk: int) -> slice:
        """The pictures of a chunk."""
        return slice(chunk * CHUNK, min((chunk + 1) * CHUNK, len(self)))

    def missing(self, root: Path, kind: str = "pictures") -> list[int]:
        """Chunks that have no file of this kind yet."""
        return [i for i in self.chunks if not chunk_file(self.folder(root), kind, i).is_file()]

    def describe(self, root: Path) -> Path:
        """Write the set's record into its folder, where worker processes read it; returns the folder."""
        folder = self.folder(root)
        with atomic_write(folder / RECORD) as temporary:
            temporary.write_text(json.dumps(self._record()), encoding="utf-8")
        return folder

    def _record(self) -> dict[str, Any]:
        record = asdict(self)
        if not self.accel:
            del record["accel"]  # plain sets keep the names they had before there were others
        return record

    @classmethod
    def read(cls, folder: Path) -> PictureSet:
        """The set whose record is in ``folder``."""
        values: dict[str, Any] = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        return cls(**{**values, "prompts": tuple(values["prompts"]), "seeds": tuple(values["seeds"])})

    def load(self, root: Path, kind: str = "pictures") -> np.ndarray:
        """All chunks of one kind in order: ``pictures`` are uint8 ``[N, H, W, 3]``. `InputError` if one is missing."""
        missing = self.missing(root, kind)
        if missing:
            raise InputError(f"{len(missing)} of {len(self.chunks)} chunks of {kind} are missing in {self.name!r}")
        return np.concatenate([load_chunk(self.folder(root), kind, i) for i in self.chunks])


def chunk_file(folder: Path, kind: str, chunk: int) -> Path:
    """The file of one chunk."""
    return folder / f"{kind}-{chunk:05d}.npy"


def load_chunk(folder: Path, kind: str, chunk: int) -> np.ndarray:
    """One chunk; `InputError` if its file is damaged (remove it and start again)."""
    path = chunk_file(folder, kind, chunk)
    try:
        return np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{str(path)!r} is damaged ({type(error).__name__}); remove it and start again") from None


def save_chunk(folder: Path, kind: str, chunk: int, values: np.ndarray) -> None:
    """Write one chunk, whole or not at all."""
    with atomic_write(chunk_file(folder, kind, chunk)) as temporary, temporary.open("wb") as stream:
        np.save(stream, values, allow_pickle=False)


def save_pictures(picture_set: PictureSet, root: Path, pictures: Sequence[np.ndarray] | np.ndarray) -> None:
    """Give a set pictures that were not drawn by the model (real renderings, say), in place of drawing it."""
    if len(pictures) != len(picture_set):
        raise InputError(f"{len(pictures)} pictures for a set of {len(picture_set)}")
    folder = picture_set.describe(root)
    for chunk in picture_set.chunks:
        save_chunk(folder, "pictures", chunk, np.asarray(pictures[picture_set.rows(chunk)]))
