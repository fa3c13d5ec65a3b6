"""A few pictures in one PNG: how the packaged sample is stored, and how it was made."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from fastdiffusers.errors import InputError

SAMPLE_SIZE = 64
SAMPLE_STYLES = ("noto", "fluent")
SAMPLE_LABELS = (
    "grinning face",
    "red heart",
    "cat face",
    "red apple",
    "green apple",
    "pizza",
    "house",
    "automobile",
    "sun",
    "rocket",
    "deciduous tree",
    "soccer ball",
)
"""Twelve concepts in two styles; ``green apple`` is held out, so that both splits are there."""


def read_sheet(path: Path) -> np.ndarray:
    """Square RGBA tiles below each other: uint8 [N, side, side, 4]."""
    with Image.open(path) as picture:
        pixels = np.asarray(picture.convert("RGBA"), dtype=np.uint8)
    side = pixels.shape[1]
    if pixels.shape[0] % side:
        raise InputError(f"{str(path)!r} is {side} pixels wide and {pixels.shape[0]} high: no column of squares")
    return pixels.reshape(-1, side, side, 4)


def write_sheet(path: Path, tiles: np.ndarray) -> None:
    """The inverse of `read_sheet`."""
    side = tiles.shape[1]
    Image.fromarray(tiles.reshape(-1, side, 4), "RGBA").save(path, format="PNG", optimize=True)


def write_sample(folder: Path, destination: Path, labels: Sequence[str] = SAMPLE_LABELS) -> None:
    """Cut the packaged sample from a data folder built at 64 px; licence texts in `destination` are kept."""
    from fastdiffusers.zoo.emoji.build import card_of, write_card, write_index
    from fastdiffusers.zoo.emoji.sources import SOURCES

    index = [json.loads(line) for line in (folder / "index.jsonl").read_text(encoding="utf-8").splitlines()]
    chosen = [entry for entry in index if entry["label"] in labels and entry["style"] in SAMPLE_STYLES]
    pictures = np.load(folder / "images.npy", mmap_mode="r", allow_pickle=False)
    destination.mkdir(parents=True, exist_ok=True)
    write_sheet(destination / "images.png", np.stack([pictures[entry["row"]] for entry in chosen]))
    write_index(destination / "index.jsonl", [{**entry, "row": row} for row, entry in enumerate(chosen)])
    used = [source for source in SOURCES if source.style in (None, *SAMPLE_STYLES)]
    write_card(destination / "card.json", card_of(destination, int(pictures.shape[1]), chosen, used))
