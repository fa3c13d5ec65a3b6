"""What a pipeline returns."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Output:
    """Pictures and how they came about.

    Attributes:
        images: list of PIL pictures, a numpy array [B, H, W, 3] in [0, 1] (``output_type="np"``), or packed latents
            [B, S, C] as numpy float32 (``"latent"``).
        latents: the packed latents [B, S, C] after the last step, numpy float32.
        seeds: one seed per picture; picture i of a run with seed s has s + i.
        stages: seconds spent on ``text``, ``denoise``, ``decode`` and ``total``.
        truncated: per prompt the end that did not fit T5, which carries the details, or None.
        notes: everything that was cut off, in words: also of negative prompts, and by CLIP (FLUX.1's reads 77 tokens).
    """

    images: Any
    latents: Any
    seeds: tuple[int, ...]
    stages: dict[str, float] = field(default_factory=dict)
    truncated: tuple[str | None, ...] = ()
    notes: tuple[str, ...] = ()
