"""Emoji pictures as arrays: read a built folder (or the packaged sample), composite on a colour, give batches."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fastdiffusers.errors import InputError, one_of
from fastdiffusers.zoo.emoji.captions import STYLES, background_colour
from fastdiffusers.zoo.emoji.concepts import ONE_SIDED
from fastdiffusers.zoo.emoji.sheet import read_sheet

Colour = tuple[int, int, int]
SPLITS = ("train", "held-out", "all")
SAMPLE = Path(__file__).parent / "sample"
"""24 pictures at 64 px that come with the package; enough to try a trainer, not to train a model."""


class EmojiDataset:
    """The pictures of one split of a data folder, at one size.

    ``entries[i]`` is the index line of picture ``i`` (see `build`); ``len()`` is the number of pictures. Pictures are
    resized once, by area, and kept as uint8 with the colours already multiplied by alpha. ``core_only`` and ``styles``
    narrow the choice. Raises `InputError` for a folder that is missing, incomplete or damaged.
    """

    def __init__(
        self,
        folder: Path | str,
        size: int = 128,
        split: str = "train",
        core_only: bool = False,
        styles: Iterable[str] | None = None,
    ):
        if split not in SPLITS:
            raise InputError(one_of("split", split, SPLITS))
        chosen = STYLES if styles is None else tuple(styles)
        for style in chosen:
            if style not in STYLES:
                raise InputError(one_of("style", style, STYLES))
        self.folder = Path(folder)
        index, pictures = _read(self.folder)
        stored = pictures.shape[1]
        if not 1 <= size <= stored:
            raise InputError(
                f"size is {size}; {str(self.folder)!r} holds pictures of {stored}, valid are 1 to {stored}"
            )
        self.size = size
        self.index: list[dict[str, Any]] = index
        self.entries = [
            entry
            for entry in index
            if split in ("all", entry["split"]) and entry["style"] in chosen and (entry["core"] or not core_only)
        ]
        self._pixels = _resized(pictures, [entry["row"] for entry in self.entries], size)

    def __len__(self) -> int:
        return len(self.entries)

    def image(self, i: int, background: Colour | str | None = None) -> np.ndarray:
        """Picture `i` on a colour (RGB, a name of `PALETTE`, or None for white): uint8 [size, size, 3]."""
        return self._composite(np.asarray([i]), [background])[0]

    def one_sided(self, i: int) -> bool:
        """Whether the mirror image of picture ``i`` would be wrong."""
        return self.entries[i]["label"] in ONE_SIDED

    def draw_mirrored(self, rows: Sequence[int] | np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """bool ``[len(rows)]``: a coin for each picture that may be mirrored, False for the others."""
        coins = rng.random(len(rows)) < 0.5
        return coins & ~np.fromiter((self.one_sided(int(row)) for row in rows), dtype=bool, count=len(rows))

    def batch(
        self,
        rows: Sequence[int],
        backgrounds: Sequence[Colour | str | None] | None = None,
        mirrored: Sequence[bool] | np.ndarray | None = None,
    ) -> np.ndarray:
        """Pictures ``rows`` of this data set, each on its background: float32 [B, 3, size, size] in [-1, 1].

        ``mirrored`` says which of them are flipped left to right (none).
        """
        backgrounds = [None] * len(rows) if backgrounds is None else backgrounds
        if len(backgrounds) != len(rows):
            raise InputError(f"{len(rows)} rows but {len(backgrounds)} backgrounds; give one for each")
        if mirrored is not None and len(mirrored) != len(rows):
            raise InputError(f"{len(rows)} rows but {len(mirrored)} choices of mirrored; give one for each")
        pictures = self._composite(np.asarray(rows, dtype=np.int64), backgrounds)
        if mirrored is not None:
            flip = np.asarray(mirrored, dtype=bool)
            pictures[flip] = pictures[flip][:, :, ::-1]
        scaled = pictures.transpose(0, 3, 1, 2).astype(np.float32) / np.float32(127.5) - np.float32(1)
        return np.ascontiguousarray(scaled)

    def _composite(self, rows: np.ndarray, backgrounds: Sequence[Colour | str | None]) -> np.ndarray:
        if any(not 0 <= row < len(self) for row in rows):
            raise InputError(f"rows {rows.min()}..{rows.max()} of a data set of {len(self)}; valid are 0 to its last")
        colours = [background_colour(b) if b is None or isinstance(b, str) else b for b in backgrounds]
        if any(not 0 <= part <= 255 for colour in colours for part in colour):
            raise InputError(f"background colours {colours[:4]}; the parts of RGB are 0 to 255")
        behind = np.asarray(colours, dtype=np.uint16).reshape(-1, 1, 1, 3)
        pixels = self._pixels[rows]
        clear = (255 - pixels[..., 3:]).astype(np.uint16)
        return (pixels[..., :3] + (behind * clear + 127) // 255).clip(0, 255).astype(np.uint8)


def _read(folder: Path) -> tuple[list[dict[str, Any]], np.ndarray]:
    advice = "build it with `fastdiff data emoji`"
    if not (folder / "index.jsonl").is_file():
        raise InputError(f"no emoji data in {str(folder)!r}; {advice}")
    try:
        lines = (folder / "index.jsonl").read_text(encoding="utf-8").splitlines()
        index = [json.loads(line) for line in lines]
        if (folder / "images.npy").is_file():
            pictures = np.load(folder / "images.npy", mmap_mode="r", allow_pickle=False)
        else:
            pictures = read_sheet(folder / "images.png")
        rows = [entry["row"] for entry in index]
        for entry in index:
            _ = entry["hexcode"], entry["label"], entry["tags"], entry["aliases"], entry["split"], entry["core"]
            _ = entry["style"], entry["licence"], entry["clashes"]
    except (OSError, ValueError, KeyError, TypeError, EOFError) as error:
        raise InputError(f"emoji data in {str(folder)!r} is damaged ({type(error).__name__}); {advice}") from error
    square = pictures.ndim == 4 and pictures.shape[1] == pictures.shape[2] and pictures.shape[3] == 4
    if not square or pictures.dtype != np.uint8 or rows != list(range(len(pictures))):
        raise InputError(f"emoji data in {str(folder)!r} is damaged (index and pictures disagree); {advice}")
    return index, pictures


def _resized(pictures: np.ndarray, rows: Sequence[int], size: int) -> np.ndarray:
    """Area-averaged, alpha-premultiplied copies: uint8 [len(rows), size, size, 4]."""
    out = np.empty((len(rows), size, size, 4), dtype=np.uint8)
    for i, row in enumerate(rows):
        premultiplied = Image.fromarray(np.ascontiguousarray(pictures[row])).convert("RGBa")
        out[i] = np.asarray(premultiplied.resize((size, size), Image.Resampling.BOX))
    return out
