"""Puts an adapter into a network's weights, and a number of steps into a pipeline, both through a recorder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import paddle
from paddle import nn

from fastdiffusers.files import sha256_file
from fastdiffusers.schedulers import FlowMatchEulerDiscreteScheduler
from fastdiffusers.weights.lora import read_lora


@dataclass(frozen=True)
class Merged:
    """What was merged: how many layers, their rank, at which scale (α/r times the factor), the file's hash, a note."""

    layers: int
    rank: int
    scale: float
    fingerprint: str
    note: str


def merge(network: nn.Layer, weights: Path, factor: float, recorder: Any) -> Merged:
    """W + factor·(α/r)·A·B in place of each W that the file has an adapter for; in float32, rounded to W's dtype."""
    linear = {path: layer for path, layer in network.named_sublayers() if isinstance(layer, nn.Linear)}
    file = read_lora(weights, {path: tuple(layer.weight.shape) for path, layer in linear.items()})
    for path, lora in file.layers.items():
        old = linear[path].weight
        new = old.astype("float32") + paddle.to_tensor(np.ascontiguousarray(lora.delta().T) * np.float32(factor))
        made = paddle.base.framework.EagerParamBase.from_tensor(new.astype(old.dtype), name=old.name)
        made.stop_gradient = old.stop_gradient
        recorder.patch(linear[path], "weight", made)
    ranks = {len(lora.down) for lora in file.layers.values()}
    scales = {lora.alpha / len(lora.down) for lora in file.layers.values()}
    scale = factor * (scales.pop() if len(scales) == 1 else 1.0)
    return Merged(len(file.layers), max(ranks, default=0), scale, sha256_file(weights)[:12], file.note)


class FewSteps(FlowMatchEulerDiscreteScheduler):
    """A scheduler that always takes the same number of steps, whatever it is asked for; levels given are kept."""

    def __init__(self, inner: FlowMatchEulerDiscreteScheduler, steps: int) -> None:
        super().__init__(inner.config)
        self.steps = steps

    def set_image_timesteps(
        self,
        image_seq_len: int,
        num_inference_steps: int | None = None,
        sigmas: Sequence[float] | np.ndarray | None = None,
    ) -> None:
        super().set_image_timesteps(image_seq_len, self.steps if sigmas is None else None, sigmas)
