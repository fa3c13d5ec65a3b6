"""Sizes of about equal area for pictures of different aspect. No Paddle."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageOps

from fastdiffusers.errors import InputError

Size = tuple[int, int]
"""Height and width in pixels."""

WIDEST = 2.0
STEPS = 16
AREA_TOLERANCE = 0.1


def bucket_sizes(resolution: int, unit: int, buckets: bool) -> list[Size]:
    """The sizes that examples may have, the square first.

    Sides are multiples of ``unit`` (what the autoencoder and the 2x2 packing need), of a sixteenth of ``resolution`` if
    that is more; the longer is at most twice the shorter; the area is within a tenth of ``resolution`` squared.
    Without ``buckets`` there is the square alone. `InputError` if ``resolution`` is no multiple of ``unit``.
    """
    if resolution < unit or resolution % unit:
        raise InputError(f"resolution is {resolution}; this model needs a multiple of {unit}")
    square = (resolution, resolution)
    if not buckets:
        return [square]
    step = max(1, resolution // (STEPS * unit)) * unit
    sizes = {square}
    for short in range(step, resolution, step):
        long = round(resolution**2 / short / step) * step
        if long <= WIDEST * short and abs(long * short / resolution**2 - 1) <= AREA_TOLERANCE:
            sizes |= {(short, long), (long, short)}
    return [square, *sorted(sizes - {square})]


def nearest_bucket(picture: Size, sizes: Sequence[Size]) -> int:
    """Index of the size whose aspect is nearest, in the logarithm, to that of ``picture`` (height, width)."""
    aspect = math.log(picture[1] / picture[0])
    return min(range(len(sizes)), key=lambda i: (round(abs(math.log(sizes[i][1] / sizes[i][0]) - aspect), 9), i))


def fitted(picture: Image.Image, size: Size) -> np.ndarray:
    """The largest centre of ``picture`` with the aspect of ``size``, resampled (Lanczos): uint8 ``[H, W, 3]``."""
    height, width = size
    return np.asarray(ImageOps.fit(picture, (width, height), Image.Resampling.LANCZOS), dtype=np.uint8)
