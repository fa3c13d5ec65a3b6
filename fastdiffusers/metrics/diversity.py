"""Diversity: how far pictures of one prompt are from each other."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastdiffusers.errors import InputError


def pairwise_distance(pictures: Any) -> float:
    """Mean over all pairs of the root mean squared difference of their pixels, from 0 (all alike) to 1.

    ``pictures`` is uint8 ``[N, H, W, 3]`` with N of at least 2; 1 is the distance of black and white. Raises
    `InputError` for anything else.
    """
    array = np.asarray(pictures)
    if array.dtype != np.uint8 or array.ndim != 4 or array.shape[0] < 2 or array.shape[3] != 3 or not array.size:
        raise InputError(
            f"pictures of {array.dtype} {list(array.shape)} are not valid; uint8 [N, height, width, 3] is, N at least 2"
        )
    flat = array.reshape(len(array), -1).astype(np.float64) / 255.0
    distances = [np.sqrt(np.square(flat[i + 1 :] - flat[i]).mean(axis=1)) for i in range(len(flat) - 1)]
    return float(np.concatenate(distances).mean())
