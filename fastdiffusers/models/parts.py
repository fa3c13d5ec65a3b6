"""What a model folder of a family consists of, and what its numbers mean, as data. No Paddle."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from fastdiffusers.accelerator import Setting
from fastdiffusers.errors import WeightsError

Configuration = Mapping[str, Any]


@dataclass(frozen=True)
class Parts:
    """The folders of a model of diffusers' layout.

    Attributes:
        names: those that must be there; ``weighted`` are the ones with weights.
        denoiser: the one that is run at every step.
        optional: those of ``names`` that a model may do without, by an entry ``[null, null]`` in model_index.json.
        cell: latent cells on a side of an image token; pictures have sides of so many cells' pixels, or multiples.
        setting: ``setting(denoiser's configuration, VAE's) -> Setting`` that is used when the user gives none.
        suffixes: which files decide a picture, and so the hash.
    """

    names: tuple[str, ...]
    weighted: tuple[str, ...]
    setting: Callable[[Configuration, Configuration], Setting]
    denoiser: str = "transformer"
    optional: frozenset[str] = frozenset()
    cell: int = 2
    suffixes: frozenset[str] = frozenset({".safetensors", ".json", ".txt"})

    def of(self, index: Configuration) -> tuple[str, ...]:
        """The parts that a model with this model_index.json has."""
        return tuple(name for name in self.names if not (name in self.optional and _is_left_out(index.get(name))))


def _is_left_out(entry: Any) -> bool:
    return isinstance(entry, list | tuple) and not any(entry)


def _flux_setting(transformer: Configuration, vae: Configuration) -> Setting:
    side = vae.get("sample_size") or 1024
    if not isinstance(side, int):
        raise WeightsError(f"the VAE's sample_size must be an integer, got {side!r}")
    return Setting(steps=28 if transformer.get("guidance_embeds") else 4, guidance=3.5, height=side, width=side)


FLUX_PARTS = Parts(
    names=("transformer", "vae", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2", "scheduler"),
    weighted=("transformer", "vae", "text_encoder", "text_encoder_2"),
    setting=_flux_setting,
)
