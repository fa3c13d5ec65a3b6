"""Puts an adapter into a network's weights, through a recorder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import paddle
from paddle import nn

from fastdiffusers.files import sha256_file
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
        delta = lora.delta().T * np.float32(factor)
        recorder.patch(linear[path], "weight", changed(linear[path].weight, delta))
    ranks = {len(lora.down) for lora in file.layers.values()}
    scales = {round(lora.alpha / len(lora.down), 9) for lora in file.layers.values()}
    scale = factor * (scales.pop() if len(scales) == 1 else 1.0)
    return Merged(len(file.layers), max(ranks, default=0), scale, sha256_file(weights)[:12], file.note)


def changed(old: Any, delta: np.ndarray) -> Any:
    """A parameter like ``old``, of the value W + delta; summed in float32, rounded to W's dtype."""
    new = old.astype("float32") + paddle.to_tensor(np.ascontiguousarray(delta))
    made = paddle.base.framework.EagerParamBase.from_tensor(new.astype(old.dtype), name=old.name)
    made.stop_gradient = old.stop_gradient
    return made
