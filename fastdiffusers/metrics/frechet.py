"""Fréchet distance between two sets of features."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdiffusers.errors import InputError


def frechet_distance(a: Any, b: Any, few: bool = False) -> float:
    """Distance between the normal distributions fitted to ``a`` ``[N, D]`` and ``b`` ``[M, D]``; 0 if they are alike.

    |μa - μb|² + tr(Ca + Cb - 2·(Ca·Cb)^½), Heusel et al. 2017, "GANs Trained by a Two Time-Scale Update Rule ...",
    eq. 6 (there called FID, on Inception features; with other features it is no FID). Covariances are unbiased. The
    trace of the root is that of (Ca^½·Cb·Ca^½)^½, a symmetric matrix, so no complex numbers appear. In the features'
    units squared. Even two halves of one set are a little apart, the more the fewer there are: report that floor too.

    Raises `InputError` for sets of unequal D, for not more samples than features (``few`` allows them: the covariances
    are singular then and the distance of like sets is large), and for values that are not finite.
    """
    first, second = _samples(a, few), _samples(b, few)
    if first.shape[1] != second.shape[1]:
        raise InputError(f"features of {first.shape[1]} and {second.shape[1]} numbers cannot be compared")
    shift = first.mean(axis=0) - second.mean(axis=0)
    if min(len(first), len(second)) <= first.shape[1]:
        return _of_few(shift, first, second)
    cov_a, cov_b = _covariance(first), _covariance(second)
    values, axes = np.linalg.eigh(cov_a)
    root = (axes * np.sqrt(np.maximum(values, 0.0))) @ axes.T
    product = root @ cov_b @ root
    overlap = np.sqrt(np.maximum(np.linalg.eigvalsh((product + product.T) / 2), 0.0)).sum()
    distance = shift @ shift + np.trace(cov_a) + np.trace(cov_b) - 2.0 * overlap
    return max(0.0, float(distance))


def _of_few(shift: NDArray[np.float64], first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """The same without covariances: if Ca = AᵀA and Cb = BᵀB, the root's trace is the sum of ABᵀ's singular values."""
    a, b = ((side - side.mean(axis=0)) / np.sqrt(len(side) - 1) for side in (first, second))
    overlap = np.linalg.svd(a @ b.T, compute_uv=False).sum()
    return max(0.0, float(shift @ shift + (a**2).sum() + (b**2).sum() - 2.0 * overlap))


def _samples(value: Any, few: bool) -> NDArray[np.float64]:
    array = np.asarray(value, dtype=np.float64)
    if array.ndim != 2 or array.shape[1] == 0:
        raise InputError(f"features of shape {list(array.shape)} are not valid; [samples, features] are")
    least = 2 if few else array.shape[1] + 1
    if array.shape[0] < least:
        raise InputError(
            f"{array.shape[0]} samples are too few for the covariance of {array.shape[1]} features; "
            f"valid is at least {least}"
        )
    if not np.isfinite(array).all():
        raise InputError("features have NaN or infinite values; finite numbers are valid")
    return array


def _covariance(samples: NDArray[np.float64]) -> NDArray[np.float64]:
    centred = samples - samples.mean(axis=0)
    return centred.T @ centred / (len(samples) - 1)
