"""Weights and inputs that any framework can make again from their names, so that large ones need no file."""

import zlib

import numpy as np


def formula(name: str, shape: tuple[int, ...], scale: float | None = None) -> np.ndarray:
    """Normal float32 numbers seeded by the name's CRC; the default scale keeps activations of order one."""
    values = np.random.RandomState(zlib.crc32(name.encode())).standard_normal(shape).astype(np.float32)
    if scale is None:
        if len(shape) == 1:
            return 1 + 0.1 * values if "norm" in name and name.endswith("weight") else 0.05 * values
        scale = 1 / np.sqrt(np.prod(shape[1:]))
    return values * np.float32(scale)


def ids(text_tokens: int, rows: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
    """Position ids of FLUX: zeros for text, (0, row, column) for image tokens."""
    image = np.zeros((rows, columns, 3), np.float32)
    image[..., 1] = np.arange(rows)[:, None]
    image[..., 2] = np.arange(columns)[None, :]
    return np.zeros((text_tokens, 3), np.float32), image.reshape(-1, 3)
