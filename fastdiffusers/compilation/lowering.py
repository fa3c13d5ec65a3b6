"""The blocks as an engine wants them written; what they compute is the same."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import paddle
from paddle import nn
from paddle.incubate.nn.functional import fused_rms_norm

from fastdiffusers.compilation.engine import Forms
from fastdiffusers.models.normalization import RMSNorm
from fastdiffusers.models.place import plain_forms
from fastdiffusers.patching import patch


@contextmanager
def lowered(layer: nn.Layer, forms: Forms) -> Iterator[None]:
    """While it lasts the layers below ``layer`` compute in ``forms``; afterwards they are as before."""
    with ExitStack() as undo:
        if forms is not Forms.EAGER:
            undo.enter_context(plain_forms(primitive=forms is Forms.PRIMITIVE))
        for part in layer.sublayers():
            if forms is Forms.FUSED and isinstance(part, RMSNorm):
                # traced as it is written, it takes oneDNN a fifth of the whole stack
                undo.callback(patch(part, "forward", functools.partial(_rms_norm, part)))
            if forms is Forms.PRIMITIVE and isinstance(part, nn.GroupNorm):
                # Paddle2ONNX 2.1.0 writes whatever was in memory for its epsilon
                undo.callback(patch(part, "forward", functools.partial(_group_norm, part)))
        yield


def _rms_norm(norm: RMSNorm, x: Any) -> Any:
    return fused_rms_norm(x, norm.weight, None, norm.eps, begin_norm_axis=x.ndim - 1)[0]


def _group_norm(norm: nn.GroupNorm, x: Any) -> Any:
    """(x − mean)/√(var + eps)·weight + bias over each group of channels of x [B, C, H, W] (Wu & He 2018, eq. 1)."""
    groups, channels = norm._num_groups, norm._num_channels
    grouped = x.reshape([0, groups, -1])
    mean = grouped.mean(axis=-1, keepdim=True)
    scale = paddle.rsqrt((grouped - mean).square().mean(axis=-1, keepdim=True) + norm._epsilon)
    weight = norm.weight.reshape([1, groups, channels // groups]) * scale
    bias = norm.bias.reshape([1, groups, channels // groups]) - mean * weight
    return x * weight.reshape([0, channels, 1, 1]) + bias.reshape([0, channels, 1, 1])
