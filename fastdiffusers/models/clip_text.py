"""CLIP's text encoder in Paddle; FLUX uses its pooled vector.

Source: Radford et al. 2021, "Learning Transferable Visual Models From Natural Language Supervision", section 2.4:
a causal pre-norm transformer over byte-pair tokens whose output at the end-of-text token stands for the sentence.
Configuration keys and parameter names are transformers'.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import paddle
import paddle.nn.functional as F
from paddle import nn

from fastdiffusers.errors import InputError, WeightsError, one_of
from fastdiffusers.models.config import ModelConfig

PREFIX = "text_model."


def quick_gelu(x: paddle.Tensor) -> paddle.Tensor:
    """x · sigmoid(1.702 x), OpenAI's approximation of GELU with which CLIP was trained."""
    return x * F.sigmoid(1.702 * x)


ACTIVATIONS = {"quick_gelu": quick_gelu, "gelu": F.gelu}


@dataclass(frozen=True)
class CLIPTextConfig(ModelConfig):
    """transformers' ``CLIPTextConfig``; a bad value is a `WeightsError`, as it comes from a checkpoint's file."""

    vocab_size: int = 49408
    hidden_size: int = 512
    intermediate_size: int = 2048
    projection_dim: int = 512
    num_hidden_layers: int = 12
    num_attention_heads: int = 8
    max_position_embeddings: int = 77
    hidden_act: str = "quick_gelu"
    layer_norm_eps: float = 1e-5
    pad_token_id: int | None = 1
    bos_token_id: int | None = 49406
    eos_token_id: int = 49407

    def __post_init__(self) -> None:
        if self.hidden_act not in ACTIVATIONS:
            raise WeightsError(one_of("hidden_act of CLIPTextModel", self.hidden_act, ACTIVATIONS))
        if self.num_attention_heads < 1 or self.hidden_size % self.num_attention_heads:
            raise WeightsError(
                f"CLIPTextModel: hidden_size {self.hidden_size} is no multiple of "
                f"num_attention_heads {self.num_attention_heads}"
            )
        if not isinstance(self.eos_token_id, int):
            raise WeightsError(f"CLIPTextModel: eos_token_id {self.eos_token_id!r} must be one integer")

    def to_dict(self) -> dict[str, Any]:
        """``config.json`` as transformers writes it (``model_type`` instead of ``_class_name``)."""
        return {"architectures": ["CLIPTextModel"], "model_type": "clip_text_model", **super().to_dict()}


class BlockConfig(Protocol):
    """What a block has to know; the image encoder's configuration says it in the same words."""

    @property
    def hidden_size(self) -> int: ...
    @property
    def intermediate_size(self) -> int: ...
    @property
    def num_hidden_layers(self) -> int: ...
    @property
    def num_attention_heads(self) -> int: ...
    @property
    def hidden_act(self) -> str: ...
    @property
    def layer_norm_eps(self) -> float: ...


def _linear(fan_in: int, fan_out: int, std: float) -> nn.Linear:
    return nn.Linear(
        fan_in, fan_out, weight_attr=nn.initializer.Normal(0.0, std), bias_attr=nn.initializer.Constant(0.0)
    )


class CLIPTextEmbeddings(nn.Layer):
    """Token embedding plus a learned embedding of the position."""

    def __init__(self, config: CLIPTextConfig) -> None:
        super().__init__()
        initial = nn.initializer.Normal(0.0, 0.02)
        self.token_embedding = nn.Embedding(config.vocab_size, config.hidden_size, weight_attr=initial)
        self.position_embedding = nn.Embedding(config.max_position_embeddings, config.hidden_size, weight_attr=initial)

    def forward(self, input_ids: paddle.Tensor) -> paddle.Tensor:
        return self.token_embedding(input_ids) + self.position_embedding.weight[: input_ids.shape[1]]


class CLIPAttention(nn.Layer):
    """Multi-head self-attention; what a token sees is decided by the mask, which is added to the scores."""

    def __init__(self, config: BlockConfig) -> None:
        super().__init__()
        width = config.hidden_size
        std = width**-0.5 * (2 * config.num_hidden_layers) ** -0.5
        self.num_heads = config.num_attention_heads
        self.head_dim = width // config.num_attention_heads
        self.k_proj = _linear(width, width, std)
        self.v_proj = _linear(width, width, std)
        self.q_proj = _linear(width, width, std)
        self.out_proj = _linear(width, width, width**-0.5)

    def forward(self, hidden_states: paddle.Tensor, mask: paddle.Tensor) -> paddle.Tensor:
        split = [0, 0, self.num_heads, self.head_dim]
        query = self.q_proj(hidden_states).reshape(split).transpose([0, 2, 1, 3])
        key = self.k_proj(hidden_states).reshape(split).transpose([0, 2, 1, 3])
        value = self.v_proj(hidden_states).reshape(split).transpose([0, 2, 1, 3])
        scores = paddle.matmul(query * self.head_dim**-0.5, key, transpose_y=True) + mask
        mixed = paddle.matmul(F.softmax(scores, axis=-1), value)
        return self.out_proj(mixed.transpose([0, 2, 1, 3]).flatten(2))


class CLIPMLP(nn.Layer):
    """Two linear layers with CLIP's activation between them."""

    def __init__(self, config: BlockConfig) -> None:
        super().__init__()
        width, inner = config.hidden_size, config.intermediate_size
        self.activation = ACTIVATIONS[config.hidden_act]
        self.fc1 = _linear(width, inner, (2 * width) ** -0.5)
        self.fc2 = _linear(inner, width, width**-0.5 * (2 * config.num_hidden_layers) ** -0.5)

    def forward(self, hidden_states: paddle.Tensor) -> paddle.Tensor:
        return self.fc2(self.activation(self.fc1(hidden_states)))


class CLIPEncoderLayer(nn.Layer):
    """Pre-norm residual block: attention, then MLP."""

    def __init__(self, config: BlockConfig) -> None:
        super().__init__()
        self.self_attn = CLIPAttention(config)
        self.layer_norm1 = nn.LayerNorm(config.hidden_size, epsilon=config.layer_norm_eps)
        self.mlp = CLIPMLP(config)
        self.layer_norm2 = nn.LayerNorm(config.hidden_size, epsilon=config.layer_norm_eps)

    def forward(self, hidden_states: paddle.Tensor, mask: paddle.Tensor) -> paddle.Tensor:
        hidden_states = hidden_states + self.self_attn(self.layer_norm1(hidden_states), mask)
        return hidden_states + self.mlp(self.layer_norm2(hidden_states))


class CLIPEncoder(nn.Layer):
    """The stack of blocks."""

    def __init__(self, config: CLIPTextConfig) -> None:
        super().__init__()
        self.layers = nn.LayerList([CLIPEncoderLayer(config) for _ in range(config.num_hidden_layers)])

    def forward(self, hidden_states: paddle.Tensor) -> paddle.Tensor:
        length = hidden_states.shape[1]
        # Finite, so that half precision stays free of NaN; far below any score, so that its weight is exactly zero.
        mask = paddle.triu(paddle.full([length, length], -1e9, dtype=hidden_states.dtype), diagonal=1)
        for layer in self.layers:
            hidden_states = layer(hidden_states, mask)
        return hidden_states


class CLIPTextTransformer(nn.Layer):
    """Embeddings, blocks and the last layer norm."""

    def __init__(self, config: CLIPTextConfig) -> None:
        super().__init__()
        self.embeddings = CLIPTextEmbeddings(config)
        self.encoder = CLIPEncoder(config)
        self.final_layer_norm = nn.LayerNorm(config.hidden_size, epsilon=config.layer_norm_eps)

    def forward(self, input_ids: paddle.Tensor) -> paddle.Tensor:
        return self.final_layer_norm(self.encoder(self.embeddings(input_ids)))


class CLIPTextModel(nn.Layer):
    """CLIP's text encoder with transformers' parameter names (``text_model.…``)."""

    Config = CLIPTextConfig
    WEIGHTS_NAME = "model"

    def __init__(self, config: CLIPTextConfig) -> None:
        super().__init__()
        self.config = config
        self.text_model = CLIPTextTransformer(config)

    @classmethod
    def rename(cls, key: str) -> str | None:
        """Name in a file → name of our parameter; ``None`` for what is no weight.

        transformers 5 leaves the ``text_model.`` prefix away when it saves; transformers before 4.31 saved the
        constant buffer ``position_ids`` with the weights.
        """
        if key.endswith("embeddings.position_ids"):
            return None
        return key if key.startswith(PREFIX) else PREFIX + key

    def forward(self, input_ids: paddle.Tensor) -> tuple[paddle.Tensor, paddle.Tensor]:
        """Encode ``input_ids`` [B, L] (int64); returns ``(last_hidden_state [B, L, C], pooled [B, C])``.

        The pooled vector is the last hidden state at the end-of-text token: the first one equal to ``eos_token_id``,
        or, where an old configuration says ``eos_token_id == 2``, the one with the highest id in the sequence.
        A sequence longer than ``max_position_embeddings`` is an `InputError`.
        """
        length, limit = input_ids.shape[1], self.config.max_position_embeddings
        if length > limit:
            raise InputError(f"CLIPTextModel: {length} tokens are too many; valid: 1 to {limit}")
        hidden_states = self.text_model(input_ids)
        return hidden_states, at_end_of_text(self.config, input_ids, hidden_states)


def at_end_of_text(config: CLIPTextConfig, input_ids: paddle.Tensor, hidden_states: paddle.Tensor) -> paddle.Tensor:
    """The states [B, L, C] at the end-of-text token, [B, C]; `CLIPTextModel.forward` says which that is."""
    if config.eos_token_id == 2:
        position = input_ids.argmax(axis=-1)
    else:
        position = (input_ids == config.eos_token_id).astype("int32").argmax(axis=-1)
    # A one-hot product rather than gather: batch size stays free in an exported graph.
    chosen = F.one_hot(position, input_ids.shape[1]).astype(hidden_states.dtype)
    return paddle.matmul(chosen.unsqueeze(1), hidden_states).squeeze(1)
