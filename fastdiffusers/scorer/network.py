"""The scorer's two towers: a residual convolutional network over pictures, gated convolutions over whole words.

Contrastive as in Radford et al. 2021, "Learning Transferable Visual Models From Natural Language Supervision", section
2.3, but on purpose of another architecture than the pooled text encoder of flux-emoji (a transformer over byte pairs
and four plain convolutions), so that it does not share that one's mistakes.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import ClassVar

import paddle
import paddle.nn.functional as F
from paddle import nn

from fastdiffusers.models.config import ModelConfig
from fastdiffusers.scorer.words import FIRST_WORD, PAD

LARGEST_SCALE = 50.0
"""Bound of the factor on cosines, as CLIP's 100: without it a long training only sharpens."""
NORM_GROUPS = 8


@dataclass(frozen=True)
class ScorerConfig(ModelConfig):
    """Keys of a scorer's ``config.json``; ``words`` are the words that the text tower knows."""

    CLASS_NAME: ClassVar[str | None] = "ScorerNetwork"

    image_size: int = 64
    channels: tuple[int, ...] = (24, 48, 96, 192)
    hidden_size: int = 256
    embedding_size: int = 128
    features: int = 64
    word_size: int = 192
    text_layers: int = 2
    heads: int = 4
    words: tuple[str, ...] = ()


class ResidualBlock(nn.Layer):
    """Two 3x3 convolutions around a 1x1 shortcut, each after a group norm and SiLU."""

    def __init__(self, inner: int, outer: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(NORM_GROUPS, inner)
        self.conv1 = nn.Conv2D(inner, outer, 3, padding=1)
        self.norm2 = nn.GroupNorm(NORM_GROUPS, outer)
        self.conv2 = nn.Conv2D(outer, outer, 3, padding=1)
        self.shortcut = nn.Conv2D(inner, outer, 1, bias_attr=False)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        y = self.conv1(F.silu(self.norm1(x)))
        return self.shortcut(x) + self.conv2(F.silu(self.norm2(y)))


class ImageTower(nn.Layer):
    """Pictures ``[B, 3, S, S]`` in [-1, 1] to penultimate features ``[B, hidden]`` and embeddings ``[B, embedding]``.

    The first layer sees 2x2 pixels at once, losing none; from there on sizes are halved by averaging, which does not
    alias (Zhang 2019, "Making Convolutional Networks Shift-Invariant Again").
    """

    def __init__(self, config: ScorerConfig) -> None:
        super().__init__()
        widths = config.channels
        self.stem = nn.Conv2D(12, widths[0], 3, padding=1)
        self.blocks = nn.LayerList([ResidualBlock(a, b) for a, b in itertools.pairwise(widths)])
        self.norm = nn.GroupNorm(NORM_GROUPS, widths[-1])
        self.hidden = nn.Linear(2 * widths[-1], config.hidden_size)
        self.proj = nn.Linear(config.hidden_size, config.embedding_size)

    def forward(self, pictures: paddle.Tensor) -> tuple[paddle.Tensor, paddle.Tensor]:
        x = self.stem(F.pixel_unshuffle(pictures, 2))
        for block in self.blocks:
            x = block(F.avg_pool2d(x, 2))
        x = F.silu(self.norm(x))
        hidden = self.hidden(paddle.concat([x.mean(axis=[2, 3]), x.max(axis=[2, 3])], axis=1))
        return hidden, self.proj(F.silu(hidden))


class GatedConvolution(nn.Layer):
    """x + a·σ(b), where a and b see each word and its two neighbours (Dauphin et al. 2017, eq. 1, with a residual)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.linear = nn.Linear(3 * width, 2 * width)

    def forward(self, x: paddle.Tensor, present: paddle.Tensor) -> paddle.Tensor:
        y = self.norm(x) * present
        edge = paddle.zeros_like(y[:, :1])
        before, after = paddle.concat([edge, y[:, :-1]], axis=1), paddle.concat([y[:, 1:], edge], axis=1)
        a, b = paddle.chunk(self.linear(paddle.concat([before, y, after], axis=2)), 2, axis=2)
        return x + a * F.sigmoid(b)


class TextTower(nn.Layer):
    """Word numbers ``[B, L]`` to embeddings ``[B, embedding]``; attention weighs the words, in every head anew."""

    def __init__(self, config: ScorerConfig) -> None:
        super().__init__()
        width = config.word_size
        self.heads = config.heads
        self.embedding = nn.Embedding(FIRST_WORD + len(config.words), width)
        self.layers = nn.LayerList([GatedConvolution(width) for _ in range(config.text_layers)])
        self.norm = nn.LayerNorm(width)
        self.weight = nn.Linear(width, config.heads)
        self.value = nn.Linear(width, width)
        self.proj = nn.Linear(width, config.embedding_size)

    def forward(self, ids: paddle.Tensor) -> paddle.Tensor:
        present = (ids != PAD).astype("float32").unsqueeze(-1)
        x = self.embedding(ids)
        for layer in self.layers:
            x = layer(x, present)
        x = self.norm(x)
        share = F.softmax(self.weight(x) + (present - 1.0) * 1e4, axis=1)
        value = self.value(x).reshape([*ids.shape, self.heads, -1])
        pooled = (value * share.unsqueeze(-1)).sum(axis=1)
        return self.proj(F.silu(pooled.flatten(1)))


class ScorerNetwork(nn.Layer):
    """Both towers, the learned factor on cosines, and the principal axes of the penultimate image features."""

    Config = ScorerConfig
    WEIGHTS_NAME = "model"

    def __init__(self, config: ScorerConfig) -> None:
        super().__init__()
        self.config = config
        self.image = ImageTower(config)
        self.text = TextTower(config)
        self.logit_scale = self.create_parameter([1], default_initializer=nn.initializer.Constant(math.log(14.0)))
        zero = nn.initializer.Constant(0.0)
        self.features_mean = self.create_parameter([config.hidden_size], default_initializer=zero)
        self.features_basis = self.create_parameter([config.hidden_size, config.features], default_initializer=zero)
        self.features_mean.stop_gradient = self.features_basis.stop_gradient = True

    def scale(self) -> paddle.Tensor:
        """The factor on cosines before a softmax: ``[1]``, at most `LARGEST_SCALE`."""
        return paddle.clip(paddle.exp(self.logit_scale), max=LARGEST_SCALE)

    def reduce(self, hidden: paddle.Tensor) -> paddle.Tensor:
        """Penultimate features ``[B, hidden]`` on their principal axes: ``[B, features]``."""
        return paddle.matmul(hidden - self.features_mean, self.features_basis)
