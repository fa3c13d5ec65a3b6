"""Structural similarity: how alike two pictures are in brightness, contrast and structure of small patches."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdiffusers.errors import InputError
from fastdiffusers.metrics.picture import picture_pair

Planes = NDArray[np.float64]

WINDOW, SIGMA, K1, K2 = 11, 1.5, 0.01, 0.03


def ssim(a: Any, b: Any) -> float:
    """Mean structural similarity, 1 for equal pictures, near 0 (or below) for unrelated ones.

    Wang, Bovik, Sheikh & Simoncelli 2004, eq. 13 with the authors' values: Gaussian window 11 × 11 with σ = 1.5,
    K₁ = 0.01, K₂ = 0.03, range 1; only windows that lie wholly inside the picture; computed on each colour channel,
    then averaged. The order of the two does not matter. Pictures as for `psnr`, at least 11 × 11; else `InputError`.
    """
    x, y = picture_pair(a, b)
    if min(x.shape[:2]) < WINDOW:
        raise InputError(
            f"pictures of {x.shape[1]} × {x.shape[0]} are too small for SSIM; {WINDOW} × {WINDOW} is least"
        )
    mean_x, mean_y = _blur(x), _blur(y)
    variance_x, variance_y = _blur(x * x) - mean_x**2, _blur(y * y) - mean_y**2
    covariance = _blur(x * y) - mean_x * mean_y
    c1, c2 = K1**2, K2**2
    brightness = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    structure = (2 * covariance + c2) / (variance_x + variance_y + c2)
    return float(np.mean(brightness * structure))


def _blur(planes: Planes) -> Planes:
    """Weighted means over all windows: [H, W, C] to [H − 10, W − 10, C], one axis after the other."""
    distance = np.arange(WINDOW) - WINDOW // 2
    weights = np.exp(-0.5 * (distance / SIGMA) ** 2)
    weights /= weights.sum()
    height, width = planes.shape[0] - WINDOW + 1, planes.shape[1] - WINDOW + 1
    rows = sum(weight * planes[i : i + height] for i, weight in enumerate(weights))
    return sum(weight * rows[:, i : i + width] for i, weight in enumerate(weights))
