"""How well the autoencoder keeps pictures of concepts it was never trained on, on white and on colours."""

from __future__ import annotations

from typing import Any

import numpy as np
import paddle

from fastdiffusers.metrics import psnr
from fastdiffusers.zoo.emoji import PALETTE, EmojiDataset
from fastdiffusers.zoo.pretrain.pictures import to_uint8

BATCH = 16


def vae_psnr(vae: Any, data: EmojiDataset, seed: int = 81) -> dict[str, Any]:
    """Mean PSNR in dB of 8-bit reconstructions (the posterior's mode), and the worst five, for every picture once on
    white and once on a colour by chance that does not hide it."""
    rng = np.random.default_rng(seed)
    colours = [
        [colour for colour in PALETTE if colour not in entry["clashes"]] or list(PALETTE) for entry in data.entries
    ]
    grounds = {"white": [None] * len(data), "colour": [some[rng.integers(len(some))] for some in colours]}
    result: dict[str, Any] = {"pictures": len(data)}
    for name, chosen in grounds.items():
        values = []
        for start in range(0, len(data), BATCH):
            rows = list(range(start, min(start + BATCH, len(data))))
            pictures = data.batch(rows, [chosen[row] for row in rows])
            with paddle.no_grad():
                kept = vae(paddle.to_tensor(pictures)).numpy()
            values += [psnr(a, b) for a, b in zip(to_uint8(kept), to_uint8(pictures), strict=True)]
        worst = np.argsort(values)[:5]
        result[name] = {
            "psnr": float(np.mean(values)),
            "worst": [[data.entries[i]["label"], data.entries[i]["style"], round(values[i], 2)] for i in worst],
        }
    return result
