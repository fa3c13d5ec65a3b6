"""Stable Diffusion 3 (Esser et al. 2024): joint blocks over picture and text, told two CLIPs and T5; flow matching."""

from __future__ import annotations

from typing import Any

import paddle

from fastdiffusers.models.info import ModelInfo
from fastdiffusers.models.tokenizers import CLIPTokenizer, T5Tokenizer
from fastdiffusers.recorder import Recorder
from fastdiffusers_ppdiffusers.blocks import View, intercept
from fastdiffusers_ppdiffusers.pipeline import StableDiffusion
from fastdiffusers_ppdiffusers.stacks import SD3_STACK
from fastdiffusers_ppdiffusers.text import Encoded, clip_penultimate, merged, t5_last

T5_LENGTH = 256  # diffusers' default


class _Length:
    """In a tokenizer's place, which ppdiffusers asks for a length when it is built; texts are encoded here."""

    def __init__(self, length: int) -> None:
        self.model_max_length = length


class SD3Pipeline(StableDiffusion):
    """ppdiffusers' StableDiffusion3Pipeline; ``transformer`` is the view of its transformer that caches drive."""

    CLASS = "StableDiffusion3Pipeline"
    IMAGE_CLASS = "StableDiffusion3Img2ImgPipeline"
    ENCODERS = ("text_encoder", "text_encoder_2", "text_encoder_3")
    STRENGTH = 0.6

    def __init__(self, pipe: Any, tokenizers: dict[str, Any], info: ModelInfo) -> None:
        super().__init__(pipe, tokenizers, info)
        self.transformer: View = intercept(pipe.transformer, SD3_STACK, Recorder(pipe, self.context))

    @classmethod
    def _tokenizers(cls, info: ModelInfo) -> dict[str, Any]:
        found: dict[str, Any] = {
            name: CLIPTokenizer.from_folder(info.path / name) for name in ("tokenizer", "tokenizer_2")
        }
        if (info.path / "text_encoder_3").is_dir():
            found["tokenizer_3"] = T5Tokenizer.from_folder(info.path / "tokenizer_3")
        return found

    def _more_for_images(self) -> dict[str, Any]:
        return {"tokenizer": _Length(self.tokenizers["tokenizer"].max_length)}

    def _encode(self, prompts: list[str], length: int | None) -> Encoded:
        one = clip_penultimate(self.tokenizers["tokenizer"], self.pipe.text_encoder, prompts)
        two = clip_penultimate(self.tokenizers["tokenizer_2"], self.pipe.text_encoder_2, prompts)
        width = int(self.info.transformer["joint_attention_dim"])
        if self.pipe.text_encoder_3 is None:
            tokens = self.tokenizers["tokenizer"].max_length
            three = Encoded(
                paddle.zeros([len(prompts), tokens, width], dtype=one.hidden.dtype), None, [{}] * len(prompts)
            )
        else:
            three = t5_last(self.tokenizers["tokenizer_3"], self.pipe.text_encoder_3, prompts, length or T5_LENGTH)
        clip = paddle.concat([one.hidden, two.hidden], axis=-1)
        padding = paddle.zeros([*clip.shape[:2], width - clip.shape[-1]], dtype=clip.dtype)
        hidden = paddle.concat([paddle.concat([clip, padding], axis=-1), three.hidden], axis=1)
        return Encoded(hidden, paddle.concat([one.pooled, two.pooled], axis=-1), merged(three, one, two))

    def _conditions(self, positive: Encoded, negative: Encoded | None) -> dict[str, Any]:
        return {
            "prompt_embeds": positive.hidden,
            "pooled_prompt_embeds": positive.pooled,
            "negative_prompt_embeds": None if negative is None else negative.hidden,
            "negative_pooled_prompt_embeds": None if negative is None else negative.pooled,
        }
