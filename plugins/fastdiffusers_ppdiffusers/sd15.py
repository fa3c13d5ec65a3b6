"""Stable Diffusion 1.5 (Rombach et al. 2022): a UNet told CLIP's last hidden state."""

from __future__ import annotations

from typing import Any

from fastdiffusers.models.info import ModelInfo
from fastdiffusers_ppdiffusers.pipeline import StableDiffusion
from fastdiffusers_ppdiffusers.text import Encoded, clip_last


class SD15Pipeline(StableDiffusion):
    """ppdiffusers' StableDiffusionPipeline. Its safety checker is not loaded."""

    CLASS = "StableDiffusionPipeline"
    IMAGE_CLASS = "StableDiffusionImg2ImgPipeline"
    ENCODERS = ("text_encoder",)
    STRENGTH = 0.8

    @classmethod
    def _more(cls, info: ModelInfo) -> dict[str, Any]:
        return {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}

    def _encode(self, prompts: list[str], length: int | None) -> Encoded:
        return clip_last(self.tokenizers["tokenizer"], self.pipe.text_encoder, prompts)

    def _conditions(self, positive: Encoded, negative: Encoded | None) -> dict[str, Any]:
        return {
            "prompt_embeds": positive.hidden,
            "negative_prompt_embeds": None if negative is None else negative.hidden,
        }
