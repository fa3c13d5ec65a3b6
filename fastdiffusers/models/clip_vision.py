"""CLIP's image encoder in Paddle: a vision transformer whose class token stands for the picture.

Source: Radford et al. 2021, "Learning Transferable Visual Models From Natural Language Supervision", section 2.4:
Dosovitskiy et al. 2021, "An Image is Worth 16x16 Words", with one more layer norm before the blocks. Configuration
keys and parameter names are transformers'.
"""

from __future__ import annotations

from dataclasses import dataclass

import paddle
from paddle import nn

from fastdiffusers.errors import InputError, WeightsError, one_of
from fastdiffusers.models.clip_text import ACTIVATIONS, CLIPEncoderLayer
from fastdiffusers.models.config import ModelConfig


@dataclass(frozen=True)
class CLIPVisionConfig(ModelConfig):
    """transformers' ``CLIPVisionConfig``; a bad value is a `WeightsError`, as it comes from a checkpoint's file."""

    hidden_size: int = 768
    intermediate_size: int = 3072
    projection_dim: int = 512
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    num_channels: int = 3
    image_size: int = 224
    patch_size: int = 32
    hidden_act: str = "quick_gelu"
    layer_norm_eps: float = 1e-5

    def __post_init__(self) -> None:
        if self.hidden_act not in ACTIVATIONS:
            raise WeightsError(one_of("hidden_act of CLIP's image encoder", self.hidden_act, ACTIVATIONS))
        if self.num_attention_heads < 1 or self.hidden_size % self.num_attention_heads:
            raise WeightsError(
                f"CLIP's image encoder: hidden_size {self.hidden_size} is no multiple of "
                f"num_attention_heads {self.num_attention_heads}"
            )
        if not 1 <= self.patch_size <= self.image_size:
            raise WeightsError(
                f"CLIP's image encoder: patch_size {self.patch_size} must be between 1 and image_size {self.image_size}"
            )

    @property
    def patches(self) -> int:
        """Number of image tokens; pixels beyond the last whole patch are not seen."""
        return (self.image_size // self.patch_size) ** 2


class CLIPVisionEmbeddings(nn.Layer):
    """The class token and the patches, each plus a learned embedding of its place: ``[B, 1 + patches, C]``."""

    def __init__(self, config: CLIPVisionConfig) -> None:
        super().__init__()
        width, size = config.hidden_size, config.patch_size
        self.class_embedding = self.create_parameter(
            [width], default_initializer=nn.initializer.Normal(0.0, width**-0.5)
        )
        self.patch_embedding = nn.Conv2D(config.num_channels, width, size, stride=size, bias_attr=False)
        self.position_embedding = nn.Embedding(1 + config.patches, width, weight_attr=nn.initializer.Normal(0.0, 0.02))

    def forward(self, pixel_values: paddle.Tensor) -> paddle.Tensor:
        patches = self.patch_embedding(pixel_values).flatten(2).transpose([0, 2, 1])
        token = self.class_embedding.reshape([1, 1, -1]).expand([patches.shape[0], 1, -1])
        return paddle.concat([token, patches], axis=1) + self.position_embedding.weight


class CLIPVisionEncoder(nn.Layer):
    """The stack of blocks; every token sees all others."""

    def __init__(self, config: CLIPVisionConfig) -> None:
        super().__init__()
        self.layers = nn.LayerList([CLIPEncoderLayer(config) for _ in range(config.num_hidden_layers)])

    def forward(self, hidden_states: paddle.Tensor) -> paddle.Tensor:
        unmasked = paddle.zeros([1], dtype=hidden_states.dtype)
        for layer in self.layers:
            hidden_states = layer(hidden_states, unmasked)
        return hidden_states


class CLIPVisionTransformer(nn.Layer):
    """Pictures ``[B, 3, S, S]``, prepared as CLIP's, to the class token ``[B, C]`` after the last layer norm."""

    def __init__(self, config: CLIPVisionConfig) -> None:
        super().__init__()
        self.side = config.image_size
        self.embeddings = CLIPVisionEmbeddings(config)
        # the misspelt name is that of all published weights
        self.pre_layrnorm = nn.LayerNorm(config.hidden_size, epsilon=config.layer_norm_eps)
        self.encoder = CLIPVisionEncoder(config)
        self.post_layernorm = nn.LayerNorm(config.hidden_size, epsilon=config.layer_norm_eps)

    def forward(self, pixel_values: paddle.Tensor) -> paddle.Tensor:
        if list(pixel_values.shape[2:]) != [self.side, self.side]:
            raise InputError(
                f"CLIP's image encoder: pictures are {list(pixel_values.shape[2:])}; valid: {self.side} x {self.side}"
            )
        hidden_states = self.encoder(self.pre_layrnorm(self.embeddings(pixel_values)))
        return self.post_layernorm(hidden_states[:, 0])
