"""Norms whose scale, shift and gates come from the time embedding (adaLN-Zero; Peebles & Xie 2022, §3.2)."""

from __future__ import annotations

import paddle
import paddle.nn.functional as F
from paddle import nn

from fastdiffusers.models.place import Linear, for_paddle_on_cpu, widened

EPS = 1e-6


def modulate(x: paddle.Tensor, shift: paddle.Tensor, scale: paddle.Tensor) -> paddle.Tensor:
    """LayerNorm without parameters over x [B, S, C], then (1 + scale)·x + shift with scale, shift [B, C]."""
    normed = F.layer_norm(x, x.shape[-1:], epsilon=EPS)
    return normed * widened(1 + scale.unsqueeze(1), x) + widened(shift.unsqueeze(1), x)


def gated(x: paddle.Tensor, gate: paddle.Tensor, change: paddle.Tensor) -> paddle.Tensor:
    """x + gate·change for x, change [B, S, C] and gate [B, C]."""
    return x + widened(gate.unsqueeze(1), change) * change


class RMSNorm(nn.Layer):
    """x / √(mean x² + eps) · weight over the last axis (Zhang & Sennrich 2019, eq. 4), in float32 inside."""

    def __init__(self, dim: int, eps: float = EPS) -> None:
        super().__init__()
        self.eps = eps
        self.weight = self.create_parameter([dim], default_initializer=nn.initializer.Constant(1.0))

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        if for_paddle_on_cpu() and x.dtype == paddle.float32:
            return x * self._factors(x)
        wide = x.astype("float32")
        wide = wide * paddle.rsqrt(wide.square().mean(axis=-1, keepdim=True) + self.eps)
        return wide.astype(x.dtype) * self.weight

    def _factors(self, x: paddle.Tensor) -> paddle.Tensor:
        """weight / √(mean x² + eps) in the shape of x, by two matrix products instead of a mean and two broadcasts."""
        dim = self.weight.shape[0]
        mean = paddle.matmul(x.square(), paddle.full([dim, 1], 1 / dim, x.dtype))
        return paddle.matmul(paddle.rsqrt(mean + self.eps), self.weight.reshape([1, dim]))


class AdaLayerNormZero(nn.Layer):
    """Modulated norm and what the rest of the block needs from the same projection.

    ``chunks`` 6 (double block) returns (x, gate_msa, shift_mlp, scale_mlp, gate_mlp); ``chunks`` 3 (single block)
    returns (x, gate).
    """

    def __init__(self, dim: int, chunks: int) -> None:
        super().__init__()
        self.chunks = chunks
        self.linear = Linear(dim, chunks * dim)

    def forward(self, x: paddle.Tensor, temb: paddle.Tensor) -> tuple[paddle.Tensor, ...]:
        shift, scale, *rest = self.linear(F.silu(temb)).chunk(self.chunks, axis=-1)
        return (modulate(x, shift, scale), *rest)


class AdaLayerNormContinuous(nn.Layer):
    """The last norm; scale comes before shift here, as in diffusers (the original single file has shift first)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.linear = Linear(dim, 2 * dim)

    def forward(self, x: paddle.Tensor, temb: paddle.Tensor) -> paddle.Tensor:
        scale, shift = self.linear(F.silu(temb)).chunk(2, axis=-1)
        return modulate(x, shift, scale)
