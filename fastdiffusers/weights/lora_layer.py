"""What a LoRA file says, whoever wrote it (Hu et al. 2021, "LoRA", section 4.1)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_ROWS = 256


@dataclass(frozen=True, eq=False)
class LoraLayer:
    """The low-rank change of one linear layer, in torch's orientation, float32.

    ``down`` is [r, in] (lora_A), ``up`` [out, r] (lora_B); the change is multiplied by ``alpha`` / r.
    """

    down: np.ndarray
    up: np.ndarray
    alpha: float

    @property
    def rank(self) -> int:
        """r, the inner width."""
        return int(self.down.shape[0])

    @property
    def scale(self) -> float:
        """alpha / r, by which the product of the factors is multiplied."""
        return self.alpha / self.rank

    def delta(self) -> np.ndarray:
        """What merging adds to the weight: alpha/r · up · down, float32 [out, in], multiplied in float64."""
        down = self.scale * self.down.astype(np.float64)
        product = np.empty((len(self.up), down.shape[1]), np.float32)
        # by rows: at FLUX.1's widths the whole product in float64 would be 300 MB
        for start in range(0, len(product), _ROWS):
            product[start : start + _ROWS] = self.up[start : start + _ROWS].astype(np.float64) @ down
        return product


@dataclass(frozen=True, eq=False)
class LoraFile:
    """The content of a LoRA file.

    ``layers`` by the transformer's layer path (``transformer_blocks.0.attn.to_q``); ``kind`` says who wrote it
    (fastdiffusers, diffusers, diffusers-old, kohya, ppdiffusers, ppdiffusers-lightning); ``note`` is for the record:
    ranks, scale and where the scale comes from; ``metadata`` is the header's.
    """

    layers: dict[str, LoraLayer]
    kind: str
    note: str
    metadata: dict[str, str]
