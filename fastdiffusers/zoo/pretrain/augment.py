"""Variety for the autoencoder's pictures: moved, turned, mirrored, recoloured, on coloured grounds."""

from __future__ import annotations

import numpy as np
from PIL import Image

from fastdiffusers.zoo.emoji import PALETTE, EmojiDataset

WHITE = (255, 255, 255)


def random_ground(rng: np.random.Generator, coloured: float) -> tuple[int, int, int]:
    """White, or with probability ``coloured`` a palette colour or, a third of the time, any colour."""
    if rng.random() >= coloured:
        return WHITE
    if rng.random() < 1 / 3:
        red, green, blue = rng.integers(0, 256, 3)
        return int(red), int(green), int(blue)
    return list(PALETTE.values())[rng.integers(len(PALETTE))]


def augmented(
    data: EmojiDataset, rows: np.ndarray, rng: np.random.Generator, size: int, coloured: float, moved: float
) -> np.ndarray:
    """Pictures of ``data`` (of higher resolution) as float32 ``[B, 3, size, size]`` in [-1, 1].

    A share ``moved`` is turned by up to 25 degrees, scaled by 0.75 to 1.15 and shifted by up to 12 %; half of all are
    mirrored, a fifth have their colour channels exchanged.
    """
    out = np.empty((len(rows), size, size, 3), dtype=np.uint8)
    for i, row in enumerate(rows):
        ground = random_ground(rng, coloured)
        picture = Image.fromarray(data.image(int(row), ground))
        if rng.random() < moved:
            picture = _moved(picture, rng, size, ground)
        else:
            picture = picture.resize((size, size), Image.Resampling.BOX)
        pixels = np.asarray(picture)
        if rng.random() < 0.5:
            pixels = pixels[:, ::-1]
        if rng.random() < 0.2:
            pixels = pixels[..., rng.permutation(3)]
        out[i] = pixels
    return np.ascontiguousarray(out.transpose(0, 3, 1, 2).astype(np.float32) / np.float32(127.5) - np.float32(1))


def _moved(picture: Image.Image, rng: np.random.Generator, size: int, ground: tuple[int, int, int]) -> Image.Image:
    angle = np.deg2rad(rng.uniform(-25, 25))
    scale = picture.width / size / rng.uniform(0.75, 1.15)
    shift = rng.uniform(-0.12, 0.12, 2) * size
    cos, sin = np.cos(angle) * scale, np.sin(angle) * scale
    half, middle = size / 2, picture.width / 2
    x0 = middle - cos * (half + shift[0]) + sin * (half + shift[1])
    y0 = middle - sin * (half + shift[0]) - cos * (half + shift[1])
    matrix = (cos, -sin, x0, sin, cos, y0)
    return picture.transform((size, size), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR, fillcolor=ground)
