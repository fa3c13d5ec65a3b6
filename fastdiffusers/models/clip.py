"""CLIP whole: both encoders and their projections into one space (Radford et al. 2021, figure 3).

Reads the folders of transformers' ``CLIPModel`` (config.json with text_config and vision_config).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import paddle
from paddle import nn

from fastdiffusers.errors import InputError, WeightsError
from fastdiffusers.models.clip_text import CLIPTextConfig, CLIPTextTransformer, at_end_of_text
from fastdiffusers.models.clip_vision import CLIPVisionConfig, CLIPVisionTransformer
from fastdiffusers.models.config import ModelConfig


@dataclass(frozen=True)
class CLIPConfig(ModelConfig):
    """transformers' ``CLIPConfig``; a bad value is a `WeightsError`, as it comes from a checkpoint's file."""

    projection_dim: int = 512
    text_config: CLIPTextConfig = field(default_factory=CLIPTextConfig)
    vision_config: CLIPVisionConfig = field(default_factory=CLIPVisionConfig)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> CLIPConfig:
        """Build from a parsed ``config.json``; an encoder that it leaves out has transformers' defaults."""
        if values.get("model_type") != "clip":
            raise WeightsError(
                f"CLIP: model_type is {values.get('model_type')!r}; valid: 'clip' (transformers' CLIPModel)"
            )
        parts: dict[str, Any] = {}
        for name, kind in (("text_config", CLIPTextConfig), ("vision_config", CLIPVisionConfig)):
            part = values.get(name) or {}
            if not isinstance(part, dict):
                raise WeightsError(f"CLIP: {name} is {part!r}; valid: an object")
            parts[name] = kind.from_dict(part)
        found = super().from_dict({key: value for key, value in values.items() if key not in parts})
        return cls(found.projection_dim, **parts, extra=found.extra)

    def to_dict(self) -> dict[str, Any]:
        """``config.json`` as transformers writes it."""
        vision = {"model_type": "clip_vision_model", **self.vision_config.to_dict()}
        text = {**self.text_config.to_dict()}
        del text["architectures"]  # of an encoder alone
        own = {"architectures": ["CLIPModel"], "model_type": "clip", "projection_dim": self.projection_dim}
        return {**self.extra, **own, "text_config": text, "vision_config": vision}


class CLIPModel(nn.Layer):
    """Pictures and texts as vectors of one space, with transformers' parameter names."""

    Config = CLIPConfig
    WEIGHTS_NAME = "model"

    def __init__(self, config: CLIPConfig) -> None:
        super().__init__()
        self.config = config
        text, vision = config.text_config, config.vision_config
        self.text_model = CLIPTextTransformer(text)
        self.vision_model = CLIPVisionTransformer(vision)
        self.visual_projection = nn.Linear(vision.hidden_size, config.projection_dim, bias_attr=False)
        self.text_projection = nn.Linear(text.hidden_size, config.projection_dim, bias_attr=False)
        self.logit_scale = self.create_parameter([], default_initializer=nn.initializer.Constant(math.log(1 / 0.07)))

    @classmethod
    def rename(cls, key: str) -> str | None:
        """Name in a file → name of our parameter; ``None`` for the constant buffers that old files hold."""
        return None if key.endswith("embeddings.position_ids") else key

    def text_features(self, input_ids: paddle.Tensor) -> paddle.Tensor:
        """``input_ids`` [B, L] (int64, with an end-of-text token) to vectors [B, projection_dim] of any length."""
        config = self.config.text_config
        length, limit = input_ids.shape[1], config.max_position_embeddings
        if length > limit:
            raise InputError(f"CLIP: {length} tokens are too many; valid: 1 to {limit}")
        states = self.text_model(input_ids)
        return self.text_projection(at_end_of_text(config, input_ids, states))

    def image_features(self, pixel_values: paddle.Tensor) -> paddle.Tensor:
        """Prepared pictures [B, 3, S, S] to vectors [B, projection_dim] of any length."""
        return self.visual_projection(self.vision_model(pixel_values))
