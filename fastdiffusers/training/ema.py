"""The moving average of the weights: what is sampled, validated and exported."""

from __future__ import annotations

from collections.abc import Mapping

import paddle


class ExponentialMovingAverage:
    """average ← d·average + (1 - d)·weight, with d = min(decay, (1 + t)/(10 + t)) so that the start is forgotten."""

    def __init__(self, decay: float, parameters: Mapping[str, paddle.Tensor]) -> None:
        self.decay = decay
        self.average = {name: value.detach().clone() for name, value in parameters.items()}

    def update(self, parameters: Mapping[str, paddle.Tensor], step: int) -> None:
        """Take in ``parameters``, which may be some of them, after their update number ``step`` (from 0)."""
        decay = min(self.decay, (1.0 + step) / (10.0 + step))
        for name, parameter in parameters.items():
            self.average[name] = decay * self.average[name] + (1.0 - decay) * parameter.detach()

    def load(self, average: Mapping[str, paddle.Tensor]) -> None:
        """Take the average over from a checkpoint."""
        self.average = dict(average)
