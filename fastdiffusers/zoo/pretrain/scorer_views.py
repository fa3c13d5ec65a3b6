"""Views of pictures for the scorer: bent, moved, blurred, noisy, tinted, as pictures of a generator may be.

Nothing here changes what a caption can say: colours keep their names, the ground its area, the object its side.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageFilter

CELLS = 3  # a picture is bent as a mesh of so many squares each way
WARPED, BLURRED, COARSE, COVERED, NOISY, BLOTCHED = 0.7, 0.35, 0.1, 0.15, 0.5, 0.3  # shares of the pictures


def views(pictures: np.ndarray, grounds: Sequence[tuple[int, int, int]], rng: np.random.Generator) -> np.ndarray:
    """One view each of uint8 ``[B, S, S, 3]``, which lie on the colours ``grounds``: float32 ``[B, 3, S, S]``.

    Black is -1 and white 1; values may leave that range a little, as noise is not cut off.
    """
    count, size = pictures.shape[:2]
    out = np.empty(pictures.shape, dtype=np.float32)
    for i, ground in enumerate(grounds):
        picture = Image.fromarray(pictures[i])
        chance = rng.random(4)
        if chance[0] < WARPED:
            picture = picture.transform(
                picture.size, Image.Transform.MESH, _mesh(rng, size), Image.Resampling.BILINEAR, fillcolor=ground
            )
        if chance[1] < BLURRED:
            picture = picture.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 1.2)))
        if chance[2] < COARSE:
            small = round(size / rng.uniform(1.3, 2.2))
            picture = picture.resize((small, small), Image.Resampling.BOX).resize((size, size))
        out[i] = np.asarray(picture)
        if chance[3] < COVERED:
            side = int(rng.integers(size // 8, size // 3))
            left, top = rng.integers(0, size - side, 2)
            out[i, top : top + side, left : left + side] = ground if rng.random() < 0.5 else rng.integers(60, 200)
    out = np.ascontiguousarray(out.transpose(0, 3, 1, 2)) / np.float32(127.5) - np.float32(1)
    shape = (count, 3, 1, 1)
    gain, shift = rng.normal(1.0, 0.04, shape), rng.normal(0.0, 0.03, shape)
    strength = rng.uniform(0, 0.14, (count, 1, 1, 1)) * (rng.random((count, 1, 1, 1)) < NOISY)
    blotch = rng.uniform(0, 0.12, (count, 1, 1, 1)) * (rng.random((count, 1, 1, 1)) < BLOTCHED)
    out = out * gain.astype(np.float32) + shift.astype(np.float32)
    out += strength.astype(np.float32) * rng.standard_normal(out.shape, dtype=np.float32)
    coarse = rng.standard_normal((count, 3, 8, 8), dtype=np.float32) * blotch.astype(np.float32)
    return out + _enlarged(coarse, size)


def _mesh(rng: np.random.Generator, size: int) -> list[tuple[tuple[int, ...], tuple[float, ...]]]:
    """Squares of the view and the four corners (NW, SW, SE, NE) in the picture that each is drawn from."""
    angle, scale = np.deg2rad(rng.uniform(-14, 14)), 1 / rng.uniform(0.82, 1.12)
    shift = rng.uniform(-0.08, 0.08, 2) * size
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    edges = np.rint(np.linspace(0, size, CELLS + 1)).astype(int)
    corners = np.stack(np.meshgrid(edges, edges), axis=-1)  # [down, across, (x, y)]
    source = (corners - size / 2 - shift) @ turn.T + size / 2
    source += rng.normal(0.0, rng.uniform(0, 0.02) * size, source.shape)
    return [
        (
            (int(edges[x]), int(edges[y]), int(edges[x + 1]), int(edges[y + 1])),
            tuple(float(v) for at in ((y, x), (y + 1, x), (y + 1, x + 1), (y, x + 1)) for v in source[at]),
        )
        for y in range(CELLS)
        for x in range(CELLS)
    ]


def _enlarged(coarse: np.ndarray, size: int) -> np.ndarray:
    """``[B, C, n, n]`` to ``[B, C, size, size]``, linearly between the centres of the coarse cells."""
    cells = coarse.shape[-1]
    place = np.clip((np.arange(size) + 0.5) * cells / size - 0.5, 0, cells - 1)
    weight = np.maximum(0, 1 - np.abs(place[:, None] - np.arange(cells)[None])).astype(np.float32)
    return np.ascontiguousarray(np.einsum("yi,bcij,xj->bcyx", weight, coarse, weight, optimize=True))
