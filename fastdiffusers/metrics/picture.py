"""What the metrics take as a picture."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdiffusers.errors import InputError


def picture_pair(a: Any, b: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Two pictures of one size as float64 [H, W, 3] in [0, 1]; `InputError` if they cannot be compared."""
    first, second = _picture(a), _picture(b)
    if first.shape != second.shape:
        raise InputError(f"pictures of shapes {list(first.shape)} and {list(second.shape)} cannot be compared")
    return first, second


def _picture(value: Any) -> NDArray[np.float64]:
    """A PIL image (read as RGB), uint8 [H, W, 3], or floats [H, W, 3] in [0, 1]."""
    array = np.asarray(value.convert("RGB") if hasattr(value, "convert") else value)
    if array.ndim != 3 or array.shape[2] != 3 or array.size == 0:
        raise InputError(f"a picture of shape {list(array.shape)} is not valid; [height, width, 3] is")
    if array.dtype == np.uint8:
        return array.astype(np.float64) / 255.0
    if not np.issubdtype(array.dtype, np.floating):
        raise InputError(f"a picture of {array.dtype} is not valid; uint8 (0 to 255) or floats (0 to 1) are")
    if not np.isfinite(array).all():
        raise InputError("a picture has NaN or infinite values; floats from 0 to 1 are valid")
    low, high = float(array.min()), float(array.max())
    if low < 0 or high > 1:
        raise InputError(f"a picture of floats has values from {low:g} to {high:g}; 0 to 1 are valid")
    return array.astype(np.float64)
