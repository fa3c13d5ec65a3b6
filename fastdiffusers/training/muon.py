"""Muon: momentum whose direction is replaced by the nearest orthogonal matrix.

Source: Jordan et al., "Muon: An optimizer for hidden layers in neural networks" (2024), with the step size of Liu et
al., "Muon is Scalable for LLM Training" (2025), eq. 4: 0.2·sqrt(max(rows, columns)) gives updates the size of AdamW's,
so that AdamW's learning rates carry over.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping

import paddle

MOMENTUM = 0.95
NEWTON_SCHULZ_STEPS = 5
# Quintic of the source: not a convergent iteration, but one that brings every singular value near 1 fastest.
QUINTIC = (3.4445, -4.7750, 2.0315)


def orthogonalize(matrices: paddle.Tensor, steps: int = NEWTON_SCHULZ_STEPS) -> paddle.Tensor:
    """UVᵀ, roughly, of each ``[n, rows, columns]`` matrix U·S·Vᵀ: its singular values are moved to about 0.7-1.2."""
    wide = matrices.shape[1] <= matrices.shape[2]
    x = matrices if wide else matrices.transpose([0, 2, 1])
    x = x / (paddle.sqrt(paddle.sum(x * x, axis=[1, 2], keepdim=True)) + 1e-7)
    a, b, c = QUINTIC
    for _ in range(steps):
        gram = paddle.bmm(x, x.transpose([0, 2, 1]))
        x = a * x + paddle.bmm(b * gram + c * paddle.bmm(gram, gram), x)
    return x if wide else x.transpose([0, 2, 1])


class Muon:
    """Nesterov momentum, orthogonalised; a convolution counts as the matrix [out, in·k·k]."""

    def __init__(self) -> None:
        self.momentum: dict[str, paddle.Tensor] = {}

    def update(
        self,
        parameters: Mapping[str, paddle.Tensor],
        gradients: Mapping[str, paddle.Tensor],
        lr: float,
        weight_decay: float,
    ) -> None:
        """Change ``parameters`` in place; those of equal shape go through Newton-Schulz together."""
        alike: dict[tuple[int, int], list[str]] = defaultdict(list)
        directions: dict[str, paddle.Tensor] = {}
        for name, gradient in gradients.items():
            old = self.momentum.get(name)
            momentum = gradient.clone() if old is None else MOMENTUM * old + gradient
            self.momentum[name] = momentum
            rows = int(gradient.shape[0])
            direction = (gradient + MOMENTUM * momentum).reshape([rows, -1])
            directions[name] = direction
            alike[tuple(direction.shape)].append(name)
        for shape, names in alike.items():
            updates = orthogonalize(paddle.stack([directions[name] for name in names]))
            scale = 0.2 * math.sqrt(max(shape))
            for name, update in zip(names, paddle.unbind(updates, 0), strict=True):
                parameter = parameters[name]
                change = update.reshape(parameter.shape) * scale
                paddle.assign(parameter * (1.0 - lr * weight_decay) - lr * change, parameter)

    def state(self) -> dict[str, paddle.Tensor]:
        """The momentum by ``momentum/NAME``."""
        return {f"momentum/{name}": value for name, value in self.momentum.items()}

    def load(self, state: Mapping[str, paddle.Tensor]) -> None:
        """Take back what `state` gave."""
        self.momentum = {key.partition("/")[2]: value for key, value in state.items()}
