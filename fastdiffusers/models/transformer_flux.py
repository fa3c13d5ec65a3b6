"""FLUX.1's transformer (Black Forest Labs 2024; parameter names and configuration keys of diffusers)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import paddle
from paddle import nn

from fastdiffusers.errors import InputError, WeightsError
from fastdiffusers.models.config import ModelConfig
from fastdiffusers.models.embeddings import Rope, TimeTextEmbedding, rope_table
from fastdiffusers.models.flux_blocks import FluxSingleTransformerBlock, FluxTransformerBlock
from fastdiffusers.models.normalization import AdaLayerNormContinuous
from fastdiffusers.models.place import Linear, on_cpu


@dataclass(frozen=True)
class FluxTransformerConfig(ModelConfig):
    """Keys and defaults of diffusers' FluxTransformer2DModel; the defaults are FLUX.1-schnell's."""

    CLASS_NAME: ClassVar[str] = "FluxTransformer2DModel"

    patch_size: int = 1
    in_channels: int = 64
    out_channels: int | None = None
    num_layers: int = 19
    num_single_layers: int = 38
    attention_head_dim: int = 128
    num_attention_heads: int = 24
    joint_attention_dim: int = 4096
    pooled_projection_dim: int = 768
    guidance_embeds: bool = False
    axes_dims_rope: tuple[int, ...] = (16, 56, 56)

    def __post_init__(self) -> None:
        for key in ("num_layers", "num_attention_heads", "attention_head_dim", "in_channels", "patch_size"):
            if getattr(self, key) < 1:
                raise WeightsError(f"FluxTransformer2DModel: {key} is {getattr(self, key)}; it must be at least 1")
        if sum(self.axes_dims_rope) != self.attention_head_dim:
            raise WeightsError(
                f"axes_dims_rope {self.axes_dims_rope} must add up to attention_head_dim {self.attention_head_dim}"
            )


class BlockLoop:
    """Runs the blocks. Replaceable (``transformer.block_loop = other``): where a cache or a compiler takes over."""

    def __call__(
        self,
        model: FluxTransformer2DModel,
        image: paddle.Tensor,
        text: paddle.Tensor,
        temb: paddle.Tensor,
        rope: Rope,
    ) -> paddle.Tensor:
        """From embedded image [B, S, C] and text [B, T, C] tokens to the image tokens after the last block."""
        for block in model.transformer_blocks:
            image, text = block(image, text, temb, rope)
        joint = paddle.concat([text, image], axis=1)
        for single in model.single_transformer_blocks:
            joint = single(joint, temb, rope)
        return joint[:, text.shape[1] :]


class FluxTransformer2DModel(nn.Layer):
    """Velocity v(x_σ, σ, text, guidance) on packed latents."""

    Config = FluxTransformerConfig

    def __init__(self, config: FluxTransformerConfig) -> None:
        super().__init__()
        self.config = config
        dim = config.num_attention_heads * config.attention_head_dim
        args = (dim, config.num_attention_heads, config.attention_head_dim)
        self.time_text_embed = TimeTextEmbedding(dim, config.pooled_projection_dim, config.guidance_embeds)
        self.context_embedder = Linear(config.joint_attention_dim, dim)
        self.x_embedder = Linear(config.in_channels, dim)
        self.transformer_blocks = nn.LayerList([FluxTransformerBlock(*args) for _ in range(config.num_layers)])
        self.single_transformer_blocks = nn.LayerList(
            [FluxSingleTransformerBlock(*args) for _ in range(config.num_single_layers)]
        )
        self.norm_out = AdaLayerNormContinuous(dim)
        out_channels = config.out_channels or config.in_channels
        self.proj_out = Linear(dim, config.patch_size * config.patch_size * out_channels)
        self.block_loop: Callable[..., paddle.Tensor] = BlockLoop()

    def rope(self, txt_ids: np.ndarray, img_ids: np.ndarray) -> Rope:
        """The rotary table of a joint sequence, text first; constant over a generation, so computed once for it."""
        table = rope_table(np.concatenate([txt_ids, img_ids]), self.config.axes_dims_rope)
        rope = tuple(paddle.to_tensor(part[None, :, None, :]) for part in table)
        if on_cpu():  # once for all products with it; see `place.widened`
            heads = self.config.num_attention_heads
            rope = tuple(part.expand([1, -1, heads, -1]).contiguous() for part in rope)
        return rope

    def forward(
        self,
        hidden_states: paddle.Tensor,
        encoder_hidden_states: paddle.Tensor,
        pooled_projections: paddle.Tensor,
        timestep: paddle.Tensor,
        image_rotary_emb: Rope,
        guidance: paddle.Tensor | None = None,
    ) -> paddle.Tensor:
        """Velocity [B, S, in_channels] for latents [B, S, in_channels] at ``timestep`` = σ in [0, 1], shape [B].

        ``encoder_hidden_states`` [B, T, joint_attention_dim] are T5's, ``pooled_projections``
        [B, pooled_projection_dim] CLIP's; ``image_rotary_emb`` is what `rope` gives; ``guidance`` [B] is the guidance
        scale, needed by guidance-distilled models and by no other.
        """
        if (guidance is not None) != self.config.guidance_embeds:
            raise InputError(
                "this transformer has a guidance embedding: give `guidance`"
                if self.config.guidance_embeds
                else "this transformer has no guidance embedding: `guidance` must be None"
            )
        image = self.x_embedder(hidden_states)
        text = self.context_embedder(encoder_hidden_states)
        temb = self.time_text_embed(timestep * 1000, None if guidance is None else guidance * 1000, pooled_projections)
        image = self.block_loop(self, image, text, temb, image_rotary_emb)
        return self.proj_out(self.norm_out(image, temb))
