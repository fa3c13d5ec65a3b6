"""Kernel distance between two sets of features."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdiffusers.errors import InputError

DEGREE = 3


@dataclass(frozen=True)
class KernelDistance:
    """Mean of the estimates of all blocks, their standard deviation (0 for one block), and how many blocks there are.

    The standard error of ``mean`` is ``std / √blocks``. It is an unbiased estimate, so it may be below 0.
    """

    mean: float
    std: float
    blocks: int

    @property
    def error(self) -> float:
        """Standard error of the mean."""
        return self.std / math.sqrt(self.blocks)


def kernel_distance(a: Any, b: Any, block: int = 250, seed: int = 0) -> KernelDistance:
    """Squared maximum mean discrepancy between ``a`` ``[N, D]`` and ``b`` ``[M, D]``, 0 in the mean if they are alike.

    Bińkowski et al. 2018, "Demystifying MMD GANs", sec. 4 (there called KID, on Inception features; with other features
    it is no KID): the unbiased estimate with the kernel (x·y / D + 1)³. Both sets are shuffled with ``seed`` and cut
    into disjoint blocks of ``block`` samples (one block of all, if there are fewer); what is left over is not used.

    Raises `InputError` for sets of unequal D, with fewer than two samples, and for values that are not finite.
    """
    first, second = _samples(a), _samples(b)
    if first.shape[1] != second.shape[1]:
        raise InputError(f"features of {first.shape[1]} and {second.shape[1]} numbers cannot be compared")
    if block < 2:
        raise InputError(f"block is {block}; it must be at least 2")
    rng = np.random.default_rng(seed)
    first, second = rng.permutation(first), rng.permutation(second)
    count = max(1, min(len(first), len(second)) // block)
    size = block if min(len(first), len(second)) >= block else max(len(first), len(second))
    cuts = [slice(i * size, (i + 1) * size) for i in range(count)]
    found = [squared_discrepancy(first[cut], second[cut]) for cut in cuts]
    return KernelDistance(float(np.mean(found)), float(np.std(found, ddof=1)) if count > 1 else 0.0, count)


def squared_discrepancy(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """The unbiased estimate of MMD²: means of k over pairs of different samples within each set, minus 2 × across."""
    n, m = len(a), len(b)
    within_a, within_b, across = _kernel(a, a), _kernel(b, b), _kernel(a, b)
    return float(
        (within_a.sum() - np.trace(within_a)) / (n * (n - 1))
        + (within_b.sum() - np.trace(within_b)) / (m * (m - 1))
        - 2.0 * across.mean()
    )


def _kernel(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    value: NDArray[np.float64] = (a @ b.T / a.shape[1] + 1.0) ** DEGREE
    return value


def _samples(value: Any) -> NDArray[np.float64]:
    array = np.asarray(value, dtype=np.float64)
    if array.ndim != 2 or array.shape[1] == 0:
        raise InputError(f"features of shape {list(array.shape)} are not valid; [samples, features] are")
    if len(array) < 2:
        raise InputError(f"{len(array)} samples are too few for a kernel distance; valid is at least 2")
    if not np.isfinite(array).all():
        raise InputError("features have NaN or infinite values; finite numbers are valid")
    return array
