"""The ground that a picture's object lies on."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastdiffusers.errors import InputError

BORDER = 2
"""Pixels from the edge that count as ground."""


def ground_colour(picture: Any) -> tuple[int, int, int]:
    """Median (r, g, b) of the outermost pixels, two deep, of uint8 ``[H, W, 3]``; each part 0 to 255.

    The median is not disturbed by an object that touches the edge, as long as it covers less than half of it. Raises
    `InputError` for anything else than such a picture.
    """
    array = np.asarray(picture)
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or not array.size:
        raise InputError(f"a picture of {array.dtype} {list(array.shape)} is not valid; uint8 [height, width, 3] is")
    edge = np.ones(array.shape[:2], dtype=bool)
    edge[BORDER:-BORDER, BORDER:-BORDER] = False
    red, green, blue = np.rint(np.median(array[edge].astype(np.float64), axis=0)).astype(int).tolist()
    return red, green, blue
