"""The arguments of a pipeline call, checked in one line each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastdiffusers.errors import InputError, one_of

OUTPUT_TYPES = ("pil", "np", "latent")


def prompts_of(prompt: str | Sequence[str]) -> list[str]:
    """One text, or a list of texts, as a list."""
    prompts = list(prompt) if isinstance(prompt, (list, tuple)) else [prompt]
    if not prompts or not all(isinstance(item, str) for item in prompts):
        raise InputError(
            f"prompt {str(prompt)[:80]!r} is not valid; give a text or a list of texts (an empty text is fine)"
        )
    return prompts


def pictures_of(image: Any, batch: int) -> list[Any]:
    """One starting picture per result."""
    pictures = list(image) if isinstance(image, (list, tuple)) else [image] * batch
    if len(pictures) != batch:
        raise InputError(f"{len(pictures)} pictures for {batch} results; give one, or one for each")
    return pictures


def given_latents(latents: Any, wanted: tuple[int, int, int]) -> np.ndarray:
    """Packed latents that the user gave, as float32 of the shape ``wanted``."""
    try:
        packed = np.asarray(latents, np.float32)
    except (TypeError, ValueError) as error:
        raise InputError(f"latents are not an array of numbers: {str(error)[:100]}") from None
    if packed.shape != wanted:
        raise InputError(f"latents have the shape {packed.shape}; packed latents of shape {wanted} are needed")
    if not np.isfinite(packed).all():
        raise InputError("latents hold NaN or infinity; finite numbers are needed")
    return packed


def check_call(true_cfg_scale: float, guidance_scale: float, copies: int, length: int | None, output_type: str) -> None:
    """Refuse numbers and names that no call can have."""
    if not is_number(guidance_scale) or guidance_scale < 0:
        raise InputError(f"guidance_scale {guidance_scale!r} is not valid; it must be a number of at least 0")
    if not is_number(true_cfg_scale) or true_cfg_scale < 1:
        raise InputError(f"true_cfg_scale {true_cfg_scale!r} is not valid; it must be a number of at least 1")
    if not is_integer(copies) or copies < 1:
        raise InputError(f"num_images_per_prompt {copies!r} is not valid; it must be an integer of at least 1")
    if length is not None and (not is_integer(length) or length < 2):
        raise InputError(f"max_sequence_length {length!r} is not valid; it must be an integer of at least 2")
    if output_type not in OUTPUT_TYPES:
        raise InputError(one_of("output_type", output_type, OUTPUT_TYPES))


def is_integer(value: object) -> bool:
    """Whether it is an integer, numpy's included; True and False are not."""
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def is_number(value: object) -> bool:
    """Whether it is a finite number."""
    return isinstance(value, (int, float, np.integer, np.floating)) and bool(np.isfinite(value))
