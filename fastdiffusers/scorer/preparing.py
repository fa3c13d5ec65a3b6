"""Pictures of any size as the scorer's image tower takes them. No Paddle."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from fastdiffusers.errors import InputError

if TYPE_CHECKING:
    Pictures = np.ndarray | Sequence[Image.Image]


def prepared(pictures: Any, size: int) -> np.ndarray:
    """uint8 ``[N, H, W, 3]`` or PIL images, averaged by area to ``size``: float32 ``[N, 3, size, size]`` in [-1, 1].

    Raises `InputError` for anything else, and for none.
    """
    out = np.empty((len(pictures), size, size, 3), dtype=np.float32)
    for i, picture in enumerate(pictures):
        out[i] = np.asarray(picture_of(picture).resize((size, size), Image.Resampling.BOX))
    if not len(out):
        raise InputError("there are no pictures; at least 1 is needed")
    return np.ascontiguousarray(out.transpose(0, 3, 1, 2)) / np.float32(127.5) - np.float32(1)


def picture_of(picture: Any) -> Image.Image:
    """A PIL image of a uint8 array `[H, W, 3]` or of any PIL image, in RGB; `InputError` for anything else."""
    if isinstance(picture, Image.Image):
        return picture.convert("RGB")
    array = np.asarray(picture)
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or not array.size:
        raise InputError(
            f"a picture of {array.dtype} {list(array.shape)} is not valid; uint8 [height, width, 3] and PIL images are"
        )
    return Image.fromarray(np.ascontiguousarray(array))
