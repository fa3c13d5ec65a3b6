"""The files of a store: arrays of half precision in chunks that are whole or not there. No Paddle.

store.json                     what it holds; written last, so that a store with it is complete
examples.npy                   one record an example, see EXAMPLE
captions.json                  every different caption, the empty one first
text-00000.npy pooled-00000.npy            embeddings of so many captions
latents-00000-96x96.npy        packed latents of one size of a chunk
states-00000-96x96.npy         their trajectories' states between noise and latents, if kept
chunk-00000.json               what a chunk holds and where the next one begins; written after its arrays
"""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from fastdiffusers.errors import InputError, NumericalError
from fastdiffusers.files import atomic_write

FORMAT = 2
CHUNK = 64
"""Examples of a chunk."""
LOOKED_AT = 4096
"""Samples after which a chunk ends though most of them were left out."""
TEXT_BYTES = 64 << 20
TEXT_MOST = 1024
STORE = "store.json"
EXAMPLES = "examples.npy"
CAPTIONS = "captions.json"
EXAMPLE = np.dtype(
    [("chunk", "<i4"), ("row", "<i4"), ("bucket", "<i4"), ("caption", "<i4"), ("seed", "<u8"), ("guidance", "<f4")]
)
"""Which row of which chunk's array of which size; number of the caption; for drawn latents, seed and guidance."""

Size = tuple[int, int]


def array_file(folder: Path, kind: str, chunk: int, size: Size | None = None) -> Path:
    """The file of one array."""
    return folder / (f"{kind}-{chunk:05d}" + (f"-{size[0]}x{size[1]}" if size else "") + ".npy")


def record_file(folder: Path, chunk: int) -> Path:
    """The file that says a chunk is complete."""
    return folder / f"chunk-{chunk:05d}.json"


def text_rows(length: int, width: int) -> int:
    """Captions of one text file: as many as make a file of moderate size."""
    return max(1, min(TEXT_MOST, TEXT_BYTES // (2 * length * width)))


def save_half(path: Path, values: np.ndarray) -> None:
    """Write an array as float16. `NumericalError` for what is no number, or none of half precision."""
    with np.errstate(over="ignore"):
        half = values.astype(np.float16)
    if not np.isfinite(half).all():
        raise NumericalError(f"{path.name}: the largest value is {np.abs(values).max():g}; float16 ends at 65504")
    save_array(path, half)


def save_array(path: Path, values: np.ndarray) -> None:
    """Write an array, whole or not at all."""
    with atomic_write(path) as temporary, temporary.open("wb") as stream:
        np.save(stream, values, allow_pickle=False)


def map_array(path: Path) -> np.ndarray:
    """An array as it lies on disk, read where it is touched. `InputError` if its file is missing or damaged."""
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{str(path)!r} is missing or damaged ({type(error).__name__}); remove its folder") from None


def save_json(path: Path, values: Any) -> None:
    """Write JSON, whole or not at all."""
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(values, ensure_ascii=False) + "\n", encoding="utf-8")


def load_json(path: Path) -> Any:
    """Read JSON. `InputError` if the file is missing or damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{str(path)!r} is missing or damaged ({type(error).__name__}); remove its folder") from None


def remove_remains(folder: Path) -> None:
    """Delete what a killed process left half-written."""
    for path in folder.glob(".*.tmp"):
        with suppress(OSError):
            path.unlink()
