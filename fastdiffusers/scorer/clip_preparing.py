"""Pictures as CLIP takes them: the short side resized, the middle cut out, colours normalised. No Paddle."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fastdiffusers.errors import WeightsError
from fastdiffusers.scorer.preparing import picture_of
from fastdiffusers.weights.layout import read_json

FILE = "preprocessor_config.json"
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
"""Of the pictures that OpenAI's CLIP was trained on, channels in [0, 1]; from its release."""


@dataclass(frozen=True)
class Preparation:
    """Short side to ``size`` (bicubic, smoothed where it shrinks), the middle ``size`` x ``size``, (x - mean) / std."""

    size: int
    mean: tuple[float, ...] = MEAN
    std: tuple[float, ...] = STD

    def __call__(self, pictures: Any) -> np.ndarray:
        """uint8 ``[N, H, W, 3]`` or PIL images to float32 ``[N, 3, size, size]``; `InputError` for anything else."""
        out = np.empty((len(pictures), self.size, self.size, 3), np.float32)
        for i, picture in enumerate(pictures):
            out[i] = np.asarray(self._middle(picture_of(picture)))
        scaled = (out / np.float32(255) - np.float32(self.mean)) / np.float32(self.std)
        return np.ascontiguousarray(scaled.transpose(0, 3, 1, 2))

    def _middle(self, image: Image.Image) -> Image.Image:
        width, height = image.size
        short = min(width, height)
        # the long side is rounded down
        resized = image.resize((self.size * width // short, self.size * height // short), Image.Resampling.BICUBIC)
        left, top = (resized.width - self.size) // 2, (resized.height - self.size) // 2
        return resized.crop((left, top, left + self.size, top + self.size))


def read_preparation(folder: Path, size: int) -> Preparation:
    """As ``folder``'s preprocessor_config.json says, for a network that sees ``size`` x ``size`` pixels.

    Without the file it is CLIP's. `WeightsError` for another way than CLIP's, or for another size.
    """
    file = folder / FILE
    if not file.is_file():
        return Preparation(size)
    values = read_json(file)
    for name in ("size", "crop_size"):
        said = values.get(name, size)
        sides = set(said.values()) if isinstance(said, dict) else {said}
        if sides != {size}:
            raise WeightsError(f"{str(file)!r}: {name} is {said!r}, but the network sees {size} x {size}")
    for name in ("do_resize", "do_center_crop", "do_normalize"):
        if values.get(name, True) is not True:
            raise WeightsError(
                f"{str(file)!r}: {name} is {values[name]!r}; valid: true, as CLIP's pictures are prepared"
            )
    if values.get("resample", Image.Resampling.BICUBIC) != Image.Resampling.BICUBIC:
        raise WeightsError(f"{str(file)!r}: resample is {values['resample']!r}; valid: 3 (bicubic)")
    colours = {}
    for name, usual in (("image_mean", MEAN), ("image_std", STD)):
        found = values.get(name, usual)
        if not isinstance(found, list | tuple) or len(found) != 3 or not all(isinstance(x, int | float) for x in found):
            raise WeightsError(f"{str(file)!r}: {name} is {found!r}; valid: three numbers")
        colours[name] = tuple(map(float, found))
    if min(colours["image_std"]) <= 0:
        raise WeightsError(f"{str(file)!r}: image_std is {list(colours['image_std'])}; valid: numbers above 0")
    return Preparation(size, colours["image_mean"], colours["image_std"])
