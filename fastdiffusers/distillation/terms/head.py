"""What a discriminator says of tokens."""

from __future__ import annotations

import paddle
import paddle.nn.functional as F
from paddle import nn


class Head(nn.Layer):
    """Tokens ``[B, S, C]`` to logits ``[B, S]``: two linear layers on normed tokens."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.inner = nn.Linear(width, width)
        self.outer = nn.Linear(width, 1)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return self.outer(F.silu(self.inner(self.norm(x)))).squeeze(-1)
