"""A small adapter made by formula, for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from paddle import nn

from fastdiffusers.distillation.adapter import WEIGHTS, AdapterCard, write_card
from fastdiffusers.weights.lora import LoraLayer, write_lora


def make_adapter(folder: Path, pipe: Any, *, steps: int = 4, method: str = "pcm", rank: int = 2, **card: Any) -> Path:
    """An adapter on the attention layers of ``pipe``'s blocks, in ``folder``."""
    rng = np.random.default_rng(5)
    layers = {}
    for path, layer in pipe.transformer.named_sublayers():
        if isinstance(layer, nn.Linear) and ".attn." in path:
            inner, outer = layer.weight.shape
            down, up = (rng.standard_normal(shape).astype(np.float32) / 4 for shape in ((rank, inner), (outer, rank)))
            layers[path] = LoraLayer(down, up, float(rank))
    folder.mkdir(parents=True, exist_ok=True)
    write_lora(folder / WEIGHTS, layers, {}, dtype="float32")
    info = pipe.info
    values = {"base": info.name, "base_sha256": info.sha256, "rank": rank, "alpha": float(rank), **card}
    write_card(folder, AdapterCard(method=method, steps=steps, **values))
    return folder
