"""Relative L1 distance: how far a latent or a hidden state is from its reference, whatever their scale."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdiffusers.errors import InputError


def rel_l1(a: Any, b: Any) -> float:
    """mean|a − b| / mean|b|: 0 for equal arrays, 1 if ``a`` is all zero; ``b`` is the reference.

    Arrays of numbers (numpy, or Paddle tensors) of one shape; computed in float64. The order matters: the distance is
    relative to ``b``. The measure by which TeaCache (arXiv:2411.19108) decides whether a step may be skipped.
    Raises `InputError` for different shapes, empty arrays, NaN, or a reference that is zero everywhere.
    """
    first, second = _numbers(a), _numbers(b)
    if first.shape != second.shape:
        raise InputError(f"arrays of shapes {list(first.shape)} and {list(second.shape)} cannot be compared")
    scale = float(np.mean(np.abs(second)))
    distance = float(np.mean(np.abs(first - second)))
    if scale == 0:
        if distance == 0:
            return 0.0
        raise InputError("the reference of a relative distance is zero everywhere; it needs a number other than 0")
    return distance / scale


def _numbers(value: Any) -> NDArray[np.float64]:
    if hasattr(value, "numpy") and hasattr(value, "astype"):
        value = value.astype("float64").numpy()  # a Paddle bfloat16 tensor would come out as its bits, in uint16
    array = np.asarray(value)
    if not (np.issubdtype(array.dtype, np.floating) or np.issubdtype(array.dtype, np.integer)):
        raise InputError(f"an array of {array.dtype} is not valid; an array of numbers is")
    if array.size == 0:
        raise InputError(f"an array of shape {list(array.shape)} is empty; it needs at least one number")
    array = array.astype(np.float64)
    if not np.isfinite(array).all():
        raise InputError("an array has NaN or infinite values; finite numbers are needed")
    return array
