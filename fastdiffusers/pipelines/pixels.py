"""Between pictures, tensors, latents and tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import paddle
from PIL import Image, UnidentifiedImageError

from fastdiffusers.errors import InputError


def read_picture(image: str | Path | Image.Image, height: int, width: int) -> np.ndarray:
    """A picture as [1, 3, height, width] float32 in [−1, 1]; a file is opened, another size is resampled (Lanczos)."""
    if not isinstance(image, Image.Image):
        try:
            with Image.open(image) as opened:
                image = opened.convert("RGB")
        except FileNotFoundError:
            raise InputError(f"picture {str(image)!r} does not exist") from None
        except (UnidentifiedImageError, Image.DecompressionBombError, OSError, TypeError, AttributeError) as error:
            raise InputError(f"{str(image)[:200]!r} is not a readable picture: {str(error)[:200]}") from None
    picture = image.convert("RGB")
    if picture.size != (width, height):
        picture = picture.resize((width, height), Image.Resampling.LANCZOS)
    array = np.asarray(picture, np.float32) / 255.0
    return (2.0 * array - 1.0).transpose(2, 0, 1)[None]


def to_unit_range(decoded: paddle.Tensor) -> np.ndarray:
    """VAE output [B, 3, H, W] in [−1, 1] as [B, H, W, 3] float32 in [0, 1]."""
    pixels = (decoded.astype("float32") / 2 + 0.5).clip(0, 1)
    return pixels.transpose([0, 2, 3, 1]).numpy()


def to_pil(pixels: np.ndarray) -> list[Image.Image]:
    """[B, H, W, 3] in [0, 1] as 8-bit pictures, rounded to nearest."""
    return [Image.fromarray(picture) for picture in (pixels * 255).round().astype(np.uint8)]


def pack(latents: Any) -> Any:
    """Latents [B, C, H, W] as tokens [B, H/2·W/2, 4·C]: 2 × 2 cells make a token, channels outermost."""
    batch, channels, height, width = latents.shape
    cells = latents.reshape([batch, channels, height // 2, 2, width // 2, 2])
    cells = cells.transpose([0, 2, 4, 1, 3, 5])
    return cells.reshape([batch, height // 2 * (width // 2), channels * 4])


def unpack(tokens: Any, height: int, width: int) -> Any:
    """The inverse of `pack`; ``height`` and ``width`` are those of the latents [B, C, height, width]."""
    batch, _, channels = tokens.shape
    cells = tokens.reshape([batch, height // 2, width // 2, channels // 4, 2, 2])
    cells = cells.transpose([0, 3, 1, 4, 2, 5])
    return cells.reshape([batch, channels // 4, height, width])


def position_ids(height: int, width: int) -> np.ndarray:
    """Image ids [height/2 · width/2, 3] for latents of ``height`` × ``width``: (0, row, column) of each token."""
    ids = np.zeros((height // 2, width // 2, 3), np.float32)
    ids[..., 1] = np.arange(height // 2)[:, None]
    ids[..., 2] = np.arange(width // 2)[None, :]
    return ids.reshape(-1, 3)
