"""The pictures that the stages train on, with what would fail later checked first."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fastdiffusers.errors import InputError
from fastdiffusers.zoo.emoji import EmojiDataset
from fastdiffusers.zoo.emoji.sheet import read_sheet


def open_pictures(folder: Path, size: int, split: str = "train", core_only: bool = False) -> EmojiDataset:
    """The pictures of one split; `InputError` if there are none."""
    data = EmojiDataset(folder, size=size, split=split, core_only=core_only)
    if not len(data):
        core = " of the core list" if core_only else ""
        raise InputError(f"no {split} pictures{core} in {str(folder)!r}; build them with `fastdiff data emoji`")
    return data


def stored_size(folder: Path) -> int:
    """Side in pixels of the pictures as they are stored, of a folder that `EmojiDataset` has accepted."""
    if (folder / "images.npy").is_file():
        return int(np.load(folder / "images.npy", mmap_mode="r", allow_pickle=False).shape[1])
    return int(read_sheet(folder / "images.png").shape[1])
