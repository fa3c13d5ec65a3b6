"""What tells the transformer where and when it is: rotary positions, time, guidance and the pooled text."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import nn

from fastdiffusers.models.place import Linear, on_cpu, widened

Rope = tuple[paddle.Tensor, paddle.Tensor]


def rope_table(ids: np.ndarray, axes_dim: Sequence[int], theta: float = 10000.0) -> tuple[np.ndarray, np.ndarray]:
    """Cosines and sines for position ids [S, axes], each [S, sum(axes_dim)] float32 (RoFormer, eq. 15).

    Neighbouring channels 2k and 2k + 1 share an angle, ids[:, axis] · theta^(−2k / axes_dim[axis]). Angles are taken in
    float64, as diffusers does, since float32 loses a digit at large positions.
    """
    angles = [
        np.outer(ids[:, axis].astype(np.float64), theta ** (-np.arange(0, dim, 2, dtype=np.float64) / dim))
        for axis, dim in enumerate(axes_dim)
    ]
    angle = np.repeat(np.concatenate(angles, axis=1), 2, axis=1)
    return np.cos(angle).astype(np.float32), np.sin(angle).astype(np.float32)


def apply_rope(x: paddle.Tensor, rope: Rope) -> paddle.Tensor:
    """Rotate x [B, S, heads, D] by the table (cos, sin): neighbours (a, b) become (ac − bs, as + bc).

    The table, [1, S, 1 or heads, D], is float32, and so is the arithmetic; the result has x's dtype.
    """
    cos, sin = rope
    wide = x if x.dtype == paddle.float32 else x.astype("float32")
    out = wide * widened(cos, wide) + _turned(wide) * widened(sin, wide)
    return out if x.dtype == paddle.float32 else out.astype(x.dtype)


def _turned(x: paddle.Tensor) -> paddle.Tensor:
    """Neighbours (a, b) become (−b, a).

    On a CPU by a product with a small matrix of zeros and ones, the same bits: every second number of a tensor is what
    Paddle reads and writes slowest there.
    """
    if on_cpu():
        dim = math.gcd(x.shape[-1], 8)
        return paddle.matmul(x.reshape([-1, dim]), _quarter_turn(dim)).reshape(x.shape)
    pairs = x.reshape([*x.shape[:-1], -1, 2])
    return paddle.stack([-pairs[..., 1], pairs[..., 0]], axis=-1).reshape(x.shape)


def _quarter_turn(dim: int) -> paddle.Tensor:
    # a program keeps the matrix as a constant of its own
    return _kept_quarter_turn(dim) if paddle.in_dynamic_mode() else _made_quarter_turn(dim)


def _made_quarter_turn(dim: int) -> paddle.Tensor:
    turn = np.zeros((dim, dim), np.float32)
    even = np.arange(0, dim, 2)
    turn[even + 1, even], turn[even, even + 1] = -1.0, 1.0
    return paddle.to_tensor(turn, place=paddle.CPUPlace())


_kept_quarter_turn = functools.cache(_made_quarter_turn)


def sinusoid(t: paddle.Tensor, dim: int = 256, max_period: float = 10000.0) -> paddle.Tensor:
    """Sinusoidal embedding of t [B] as [B, dim] float32, cosines first (Vaswani et al. 2017, §3.5)."""
    half = dim // 2
    # float32 step by step in torch's order: t reaches thousands, so one unit in the last place of a frequency shows
    exponent = np.float32(-math.log(max_period)) * np.arange(half, dtype=np.float32) / np.float32(half)
    frequency = paddle.to_tensor(np.exp(exponent.astype(np.float64)).astype(np.float32))
    angle = t.astype("float32").unsqueeze(-1) * frequency.unsqueeze(0)
    return paddle.concat([paddle.cos(angle), paddle.sin(angle)], axis=-1)


class Projection(nn.Layer):
    """Two linear layers with SiLU between them, from a sinusoid or a pooled text vector to the modulation width."""

    def __init__(self, in_channels: int, dim: int) -> None:
        super().__init__()
        self.linear_1 = Linear(in_channels, dim)
        self.linear_2 = Linear(dim, dim)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return self.linear_2(F.silu(self.linear_1(x)))


class TimeTextEmbedding(nn.Layer):
    """temb [B, dim] = time(t) + guidance(g) + text(pooled); the guidance part exists only in guidance-distilled models.

    t and g come multiplied by 1000. FLUX.1-schnell has no guidance part.
    """

    def __init__(self, dim: int, pooled_dim: int, guidance: bool) -> None:
        super().__init__()
        self.timestep_embedder = Projection(256, dim)
        if guidance:
            self.guidance_embedder = Projection(256, dim)
        self.text_embedder = Projection(pooled_dim, dim)

    def forward(self, timestep: paddle.Tensor, guidance: paddle.Tensor | None, pooled: paddle.Tensor) -> paddle.Tensor:
        temb = self.timestep_embedder(sinusoid(timestep).astype(pooled.dtype))
        if guidance is not None:
            temb = temb + self.guidance_embedder(sinusoid(guidance).astype(pooled.dtype))
        return temb + self.text_embedder(pooled)
