"""Stable Diffusion XL (Podell et al. 2023): a larger UNet told two CLIPs' hidden states and the picture's size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import paddle

from fastdiffusers.models.info import ModelInfo
from fastdiffusers.weights.layout import read_json
from fastdiffusers_ppdiffusers.pipeline import StableDiffusion
from fastdiffusers_ppdiffusers.text import Encoded, clip_penultimate, merged


class SDXLPipeline(StableDiffusion):
    """ppdiffusers' StableDiffusionXLPipeline."""

    CLASS = "StableDiffusionXLPipeline"
    IMAGE_CLASS = "StableDiffusionXLImg2ImgPipeline"
    ENCODERS = ("text_encoder", "text_encoder_2")
    STRENGTH = 0.3

    @classmethod
    def _more(cls, info: ModelInfo) -> dict[str, Any]:
        index = read_json(info.path / "model_index.json")
        return {"force_zeros_for_empty_prompt": bool(index.get("force_zeros_for_empty_prompt", True))}

    def _encode(self, prompts: list[str], length: int | None) -> Encoded:
        one = clip_penultimate(self.tokenizers["tokenizer"], self.pipe.text_encoder, prompts)
        two = clip_penultimate(self.tokenizers["tokenizer_2"], self.pipe.text_encoder_2, prompts)
        return Encoded(paddle.concat([one.hidden, two.hidden], axis=-1), two.pooled, merged(one, two))

    @paddle.no_grad()
    def embed(self, prompts: list[str]) -> Encoded:
        told = super().embed(prompts)
        if self.pipe.config.force_zeros_for_empty_prompt:
            kept = paddle.to_tensor([float(prompt != "") for prompt in prompts]).astype(told.hidden.dtype)
            told.hidden, told.pooled = told.hidden * kept.reshape([-1, 1, 1]), told.pooled * kept.reshape([-1, 1])
        return told

    def _negative(
        self, prompt: str | Sequence[str] | None, positive: Encoded, count: int, length: int | None
    ) -> Encoded:
        if prompt is None and self.pipe.config.force_zeros_for_empty_prompt:
            return positive.zeros()
        return super()._negative(prompt, positive, count, length)

    def _conditions(self, positive: Encoded, negative: Encoded | None) -> dict[str, Any]:
        return {
            "prompt_embeds": positive.hidden,
            "pooled_prompt_embeds": positive.pooled,
            "negative_prompt_embeds": None if negative is None else negative.hidden,
            "negative_pooled_prompt_embeds": None if negative is None else negative.pooled,
        }
