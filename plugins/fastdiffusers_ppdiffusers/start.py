"""Where a generation of Stable Diffusion starts: at noise, at given latents, or at a picture with noise on it.

All noise is torch's for the seeds; for a picture, the VAE's posterior is drawn first, as diffusers does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import paddle

from fastdiffusers.errors import InputError
from fastdiffusers.noise import picture_noise
from fastdiffusers.pipelines import pixels
from fastdiffusers.pipelines.arguments import is_number, pictures_of


@dataclass(frozen=True)
class Start:
    """``noise`` [B, C, h, w] of variance 1; for img2img ``clean``, the picture's latents, and ``strength``."""

    noise: Any
    clean: Any = None
    strength: float = 1.0

    def prepared(self, scheduler: Any, timestep: Any) -> Any:
        """The latents of the picture at ``timestep``."""
        if hasattr(scheduler, "add_noise"):
            return scheduler.add_noise(self.clean, self.noise, timestep)
        return scheduler.scale_noise(self.clean, timestep, self.noise)


def from_noise(latents: Any, shape: tuple[int, int, int], seeds: Sequence[int], dtype: Any) -> Start:
    """Start at drawn noise, or at ``latents`` in its place; ``shape`` is that of one picture's."""
    if latents is None:
        return Start(paddle.to_tensor(picture_noise(shape, seeds)).astype(dtype))
    try:
        given = np.asarray(latents, np.float32)
    except (TypeError, ValueError) as error:
        raise InputError(f"latents are not an array of numbers: {str(error)[:100]}") from None
    if given.shape != (len(seeds), *shape):
        raise InputError(f"latents have the shape {given.shape}; {(len(seeds), *shape)} is needed")
    if not np.isfinite(given).all():
        raise InputError("latents hold NaN or infinity; finite numbers are needed")
    return Start(paddle.to_tensor(given).astype(dtype))


def from_picture(
    image: Any, strength: float, vae: Any, size: tuple[int, int], shape: tuple[int, int, int], seeds: Sequence[int]
) -> Start:
    """Start at ``image`` (one, or one per seed), resampled to ``size``, with noise for ``strength`` of the steps."""
    draws = picture_noise((2, *shape), seeds)
    config, dtype = vae.config, vae.parameters()[0].dtype
    clean = []
    for picture, draw in zip(pictures_of(image, len(seeds)), draws, strict=True):
        read = paddle.to_tensor(pixels.read_picture(picture, *size)).astype(dtype)
        posterior = vae.encode(read).latent_dist
        cells = posterior.mean + posterior.std * paddle.to_tensor(draw[:1]).astype(dtype)
        clean.append((cells - (getattr(config, "shift_factor", None) or 0.0)) * config.scaling_factor)
    return Start(paddle.to_tensor(draws[:, 1]).astype(dtype), paddle.concat(clean), strength)


def check_strength(strength: Any, steps: int) -> float:
    """`InputError` unless ``strength`` is a share of the steps that leaves at least one to run."""
    if not is_number(strength) or not 0 < strength <= 1:
        raise InputError(f"strength {strength!r} is not valid; it must be above 0 and at most 1")
    if int(steps * strength) < 1:
        raise InputError(f"strength {strength:g} of {steps} steps leaves none to run; use a higher one, or more steps")
    return float(strength)
