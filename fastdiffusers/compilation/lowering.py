"""Forms of two small operations that engines on a CPU run faster, and that compute the same: forward only.

Traced as they are written, a root-mean-square norm is six operations over every head and a rotation is five, most of
which read strided memory: together they cost oneDNN a quarter of the whole stack.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import paddle
from paddle import nn
from paddle.incubate.nn.functional import fused_rms_norm

from fastdiffusers.models.embeddings import Rope
from fastdiffusers.models.flux_blocks import Attention
from fastdiffusers.models.normalization import RMSNorm
from fastdiffusers.patching import patch


@contextmanager
def lowered(layer: nn.Layer, use: bool = True) -> Iterator[None]:
    """While it lasts the layers below ``layer`` compute with Paddle's fused kernels; afterwards they are as before."""
    with ExitStack() as undo:
        for part in layer.sublayers() if use else ():
            if isinstance(part, RMSNorm):
                undo.callback(patch(part, "forward", functools.partial(_rms_norm, part)))
            elif isinstance(part, Attention):
                undo.callback(patch(part, "turn", functools.partial(rotated, _dim(part))))
        yield


def rotated(dim: int, x: Any, rope: Rope) -> Any:
    """As `apply_rope`, for heads of ``dim`` channels: the same bits.

    Neighbours (a, b) become (−b, a) by a product with a matrix of zeros and ones instead of strided reads.
    """
    cos, sin = rope
    wide = x if x.dtype == cos.dtype else x.astype(cos.dtype)
    out = wide * cos + paddle.matmul(wide, paddle.to_tensor(_quarter_turn(dim))) * sin
    return out if x.dtype == cos.dtype else out.astype(x.dtype)


def _dim(attention: Attention) -> int:
    return int(attention.norm_q.weight.shape[0])


@functools.cache
def _quarter_turn(dim: int) -> np.ndarray:
    turn = np.zeros((dim, dim), np.float32)
    even = np.arange(0, dim, 2)
    turn[even + 1, even], turn[even, even + 1] = -1.0, 1.0
    return turn


def _rms_norm(norm: RMSNorm, x: Any) -> Any:
    return fused_rms_norm(x, norm.weight, None, norm.eps, begin_norm_axis=x.ndim - 1)[0]
