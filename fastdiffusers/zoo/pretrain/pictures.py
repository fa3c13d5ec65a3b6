"""Arrays of pictures as grids and figures."""

from __future__ import annotations

import numpy as np


def to_uint8(pictures: np.ndarray) -> np.ndarray:
    """float ``[B, 3, H, W]`` in [-1, 1] to uint8 ``[B, H, W, 3]``."""
    return np.clip(np.rint((pictures.transpose(0, 2, 3, 1) + 1) * 127.5), 0, 255).astype(np.uint8)


def grid(pictures: np.ndarray, columns: int, gap: int = 2) -> np.ndarray:
    """uint8 ``[B, H, W, 3]`` as one picture, row by row."""
    count, height, width, _ = pictures.shape
    rows = -(-count // columns)
    sheet = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap, 3), 128, dtype=np.uint8)
    for i, picture in enumerate(pictures):
        top, left = (i // columns) * (height + gap), (i % columns) * (width + gap)
        sheet[top : top + height, left : left + width] = picture
    return sheet


def psnr(pictures: np.ndarray, others: np.ndarray) -> float:
    """Mean over pictures of the peak signal-to-noise ratio in dB; both ``[B, 3, H, W]`` in [-1, 1]."""
    error = np.square(np.clip(pictures, -1, 1) - np.clip(others, -1, 1)).mean(axis=(1, 2, 3), dtype=np.float64)
    return float(np.mean(10 * np.log10(4.0 / np.maximum(error, 1e-12))))
