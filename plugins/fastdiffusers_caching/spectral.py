"""SeaCache's filter (CVPR 2026, arXiv 2602.18993): probes are compared where signal, not noise, is expected.

A natural picture's spectrum falls as S(f) = 1 / (|f|^p + ε), noise is flat. At noise level σ (signal a = 1 − σ, noise
b = σ) the gain along an axis is G(f) = a·S / (a²·S + b²), divided by its mean over the frequencies; the two axes of
the token grid multiply. The filter is the same as a product with one matrix per axis, D⁻¹·diag(G)·D with D the discrete
Fourier transform: real, since G is even. On grids of tokens that is quicker than an FFT.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdiffusers.caching.indicators import Moment
from fastdiffusers.errors import PluginError

POWER = 2.0
EPSILON = 1e-16
SIGMA_MARGIN = 1e-6  # σ = 1 would divide 0 by 0


def gain(size: int, sigma: float, power: float = POWER) -> NDArray[np.float64]:
    """G(f) at the ``size`` frequencies of a discrete Fourier transform, in its order, with mean 1."""
    sigma = min(max(sigma, SIGMA_MARGIN), 1.0 - SIGMA_MARGIN)
    a, b = 1.0 - sigma, sigma
    spectrum = 1.0 / (np.abs(np.fft.fftfreq(size)) ** power + EPSILON)
    values = a * spectrum / (a * a * spectrum + b * b)
    return values / values.mean()


def filter_matrix(size: int, sigma: float, power: float = POWER) -> NDArray[np.float32]:
    """The filter along one axis as a matrix [size, size]: circulant and symmetric."""
    response = np.fft.ifft(gain(size, sigma, power)).real
    distance = np.subtract.outer(np.arange(size), np.arange(size)) % size
    return response[distance].astype(np.float32)


@lru_cache(maxsize=256)
def _on_device(size: int, sigma: float, place: str) -> Any:
    """The matrix as a tensor; kept, since every generation of as many steps needs the same ones."""
    import paddle

    return paddle.to_tensor(filter_matrix(size, sigma))


def spectral_filter(probe: Any, moment: Moment) -> Any:
    """The image's part of ``probe`` [B, rows·columns, C], filtered over the grid for the present σ, float32."""
    import paddle

    image = moment.tokens.image_of(probe)
    if moment.grid is None or moment.grid[0] * moment.grid[1] != image.shape[1]:
        raise PluginError(f"the pipeline gives the grid {moment.grid} for {image.shape[1]} image tokens; it must fit")
    rows, columns = moment.grid
    batch, _, channels = image.shape
    down, across = (_on_device(size, moment.sigma, str(image.place)) for size in moment.grid)
    wide = paddle.matmul(down, image.astype("float32").reshape([batch, rows, columns * channels]))
    return paddle.matmul(across, wide.reshape([batch * rows, columns, channels])).reshape(image.shape)
