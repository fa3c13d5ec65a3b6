"""T5's encoder in Paddle; FLUX reads its last hidden state, without an attention mask.

Sources: Raffel et al. 2020, "Exploring the Limits of Transfer Learning with a Unified Text-to-Text Transformer",
section 2.1 (relative position buckets, norm without mean and bias, unscaled scores); Shazeer 2020, "GLU Variants
Improve Transformer" (the gated feed-forward of T5 v1.1). Configuration keys and parameter names are transformers'.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import nn

from fastdiffusers.errors import WeightsError, one_of
from fastdiffusers.models.config import ModelConfig
from fastdiffusers.models.place import gelu_tanh

# feed_forward_proj → (gated, activation); "gated-gelu" has always meant the tanh approximation.
FEED_FORWARDS: dict[str, tuple[bool, Callable[[paddle.Tensor], paddle.Tensor]]] = {
    "relu": (False, F.relu),
    "gelu": (False, F.gelu),
    "gated-relu": (True, F.relu),
    "gated-silu": (True, F.silu),
    "gated-gelu": (True, gelu_tanh),
}


@dataclass(frozen=True)
class T5Config(ModelConfig):
    """transformers' ``T5Config`` as far as the encoder needs it.

    ``is_gated_act`` and ``dense_act_fn`` of a file follow from ``feed_forward_proj`` and are only kept in ``extra``.
    """

    vocab_size: int = 32128
    d_model: int = 512
    d_kv: int = 64
    d_ff: int = 2048
    num_layers: int = 6
    num_heads: int = 8
    relative_attention_num_buckets: int = 32
    relative_attention_max_distance: int = 128
    layer_norm_epsilon: float = 1e-6
    feed_forward_proj: str = "relu"
    dropout_rate: float = 0.1
    pad_token_id: int | None = 0
    eos_token_id: int | None = 1

    def __post_init__(self) -> None:
        if self.feed_forward_proj not in FEED_FORWARDS:
            raise WeightsError(one_of("feed_forward_proj of T5EncoderModel", self.feed_forward_proj, FEED_FORWARDS))

    def to_dict(self) -> dict[str, Any]:
        """``config.json`` as transformers writes it (``model_type`` instead of ``_class_name``)."""
        # transformers reads false as "v1.1"; the encoder itself is the same either way.
        head = {"architectures": ["T5EncoderModel"], "model_type": "t5", "tie_word_embeddings": False}
        return {**head, **super().to_dict()}


@lru_cache(maxsize=32)
def relative_position_buckets(length: int, num_buckets: int, max_distance: int) -> np.ndarray:
    """Bucket of every (query, key) pair: int64 [length, length], values below ``num_buckets``.

    Half of the buckets are for keys after the query. Within a half, the first half are exact distances and the rest
    grow logarithmically up to ``max_distance``, beyond which all distances share the last bucket. Computed once per
    length and kept here, not on the layer, so that running a model leaves its attributes as they were.
    """
    position = np.arange(length, dtype=np.int64)
    offset = position[None, :] - position[:, None]
    half = num_buckets // 2
    exact = half // 2
    distance = np.abs(offset)
    # float32 as in the original: at powers of the base the rounding decides the bucket.
    ratio = np.log(np.maximum(distance, 1).astype(np.float32) / np.float32(exact)) / np.float32(
        math.log(max_distance / exact)
    )
    far = np.minimum(exact + (ratio * np.float32(half - exact)).astype(np.int64), half - 1)
    buckets = np.where(distance < exact, distance, far) + np.where(offset > 0, half, 0)
    buckets.setflags(write=False)
    return buckets


def _linear(fan_in: int, fan_out: int, std: float) -> nn.Linear:
    return nn.Linear(fan_in, fan_out, weight_attr=nn.initializer.Normal(0.0, std), bias_attr=False)


class T5LayerNorm(nn.Layer):
    """Division by the root mean square, then a scale; the mean stays, there is no bias."""

    def __init__(self, width: int, epsilon: float) -> None:
        super().__init__()
        self.weight = self.create_parameter([width], default_initializer=nn.initializer.Constant(1.0))
        self.epsilon = epsilon

    def forward(self, hidden_states: paddle.Tensor) -> paddle.Tensor:
        wide = hidden_states.astype("float32")
        wide = wide * paddle.rsqrt((wide * wide).mean(axis=-1, keepdim=True) + self.epsilon)
        return self.weight * wide.astype(self.weight.dtype)


class T5Attention(nn.Layer):
    """Multi-head self-attention on unscaled scores plus the relative position bias."""

    def __init__(self, config: T5Config, has_relative_attention_bias: bool) -> None:
        super().__init__()
        width, inner = config.d_model, config.num_heads * config.d_kv
        self.num_heads, self.head_dim = config.num_heads, config.d_kv
        self.q = _linear(width, inner, (width * config.d_kv) ** -0.5)
        self.k = _linear(width, inner, width**-0.5)
        self.v = _linear(width, inner, width**-0.5)
        self.o = _linear(inner, width, inner**-0.5)
        if has_relative_attention_bias:
            initial = nn.initializer.Normal(0.0, width**-0.5)
            self.relative_attention_bias = nn.Embedding(
                config.relative_attention_num_buckets, config.num_heads, weight_attr=initial
            )

    def forward(self, hidden_states: paddle.Tensor, bias: paddle.Tensor) -> paddle.Tensor:
        split = [0, 0, self.num_heads, self.head_dim]
        query = self.q(hidden_states).reshape(split).transpose([0, 2, 1, 3])
        key = self.k(hidden_states).reshape(split).transpose([0, 2, 1, 3])
        value = self.v(hidden_states).reshape(split).transpose([0, 2, 1, 3])
        scores = paddle.matmul(query, key, transpose_y=True) + bias
        mixed = paddle.matmul(F.softmax(scores, axis=-1), value)
        return self.o(mixed.transpose([0, 2, 1, 3]).flatten(2))


class T5LayerSelfAttention(nn.Layer):
    """Pre-norm residual attention."""

    def __init__(self, config: T5Config, has_relative_attention_bias: bool) -> None:
        super().__init__()
        self.SelfAttention = T5Attention(config, has_relative_attention_bias)
        self.layer_norm = T5LayerNorm(config.d_model, config.layer_norm_epsilon)
        self.dropout = nn.Dropout(config.dropout_rate)

    def forward(self, hidden_states: paddle.Tensor, bias: paddle.Tensor) -> paddle.Tensor:
        return hidden_states + self.dropout(self.SelfAttention(self.layer_norm(hidden_states), bias))


class T5Dense(nn.Layer):
    """The feed-forward network: wo(act(wi x)), or gated: wo(act(wi_0 x) · wi_1 x)."""

    def __init__(self, config: T5Config) -> None:
        super().__init__()
        self.gated, self.activation = FEED_FORWARDS[config.feed_forward_proj]
        for name in ("wi_0", "wi_1") if self.gated else ("wi",):
            setattr(self, name, _linear(config.d_model, config.d_ff, config.d_model**-0.5))
        self.wo = _linear(config.d_ff, config.d_model, config.d_ff**-0.5)
        self.dropout = nn.Dropout(config.dropout_rate)

    def forward(self, hidden_states: paddle.Tensor) -> paddle.Tensor:
        if self.gated:
            inner = self.activation(self.wi_0(hidden_states)) * self.wi_1(hidden_states)
        else:
            inner = self.activation(self.wi(hidden_states))
        return self.wo(self.dropout(inner))


class T5LayerFF(nn.Layer):
    """Pre-norm residual feed-forward."""

    def __init__(self, config: T5Config) -> None:
        super().__init__()
        self.DenseReluDense = T5Dense(config)
        self.layer_norm = T5LayerNorm(config.d_model, config.layer_norm_epsilon)
        self.dropout = nn.Dropout(config.dropout_rate)

    def forward(self, hidden_states: paddle.Tensor) -> paddle.Tensor:
        return hidden_states + self.dropout(self.DenseReluDense(self.layer_norm(hidden_states)))


class T5Block(nn.Layer):
    """Attention and feed-forward; ``layer.0`` and ``layer.1`` in parameter names."""

    def __init__(self, config: T5Config, has_relative_attention_bias: bool) -> None:
        super().__init__()
        self.layer = nn.LayerList([T5LayerSelfAttention(config, has_relative_attention_bias), T5LayerFF(config)])

    def forward(self, hidden_states: paddle.Tensor, bias: paddle.Tensor) -> paddle.Tensor:
        return self.layer[1](self.layer[0](hidden_states, bias))


class T5Stack(nn.Layer):
    """The blocks and the last norm; all blocks share the position bias that the first one owns."""

    def __init__(self, config: T5Config) -> None:
        super().__init__()
        self.config = config
        self.block = nn.LayerList(
            [T5Block(config, has_relative_attention_bias=i == 0) for i in range(config.num_layers)]
        )
        self.final_layer_norm = T5LayerNorm(config.d_model, config.layer_norm_epsilon)
        self.dropout = nn.Dropout(config.dropout_rate)

    def position_bias(self, length: int) -> paddle.Tensor:
        """What is added to the scores: [1, heads, length, length]."""
        buckets = relative_position_buckets(
            length, self.config.relative_attention_num_buckets, self.config.relative_attention_max_distance
        )
        table = self.block[0].layer[0].SelfAttention.relative_attention_bias
        return table(paddle.to_tensor(buckets)).transpose([2, 0, 1]).unsqueeze(0)

    def forward(self, hidden_states: paddle.Tensor) -> paddle.Tensor:
        bias = self.position_bias(hidden_states.shape[1])
        hidden_states = self.dropout(hidden_states)
        for block in self.block:
            hidden_states = block(hidden_states, bias)
        return self.dropout(self.final_layer_norm(hidden_states))


class T5EncoderModel(nn.Layer):
    """T5's encoder with transformers' parameter names (``shared.weight``, ``encoder.block.0.…``)."""

    Config = T5Config
    WEIGHTS_NAME = "model"

    def __init__(self, config: T5Config) -> None:
        super().__init__()
        self.config = config
        self.shared = nn.Embedding(config.vocab_size, config.d_model, weight_attr=nn.initializer.Normal(0.0, 1.0))
        self.encoder = T5Stack(config)

    @classmethod
    def rename(cls, key: str) -> str | None:
        """Name in a file → name of our parameter; ``None`` for the tied copy of ``shared.weight``."""
        return None if key == "encoder.embed_tokens.weight" else key

    def forward(self, input_ids: paddle.Tensor) -> paddle.Tensor:
        """Encode ``input_ids`` [B, L] (int64, padding included); returns the last hidden state [B, L, d_model]."""
        return self.encoder(self.shared(input_ids))
