"""What stands in for blocks that are not run: the last value, or a forecast from several earlier ones. No Paddle.

The value F is the residual of the blocks (what came out minus what went in) or their output. All estimators keep
differences D⁰ = F, D¹, …, Dⁿ of the computed steps and forecast Σ wᵢ·Dⁱ; order 0 is plain reuse.
"""

from __future__ import annotations

import math
from typing import Any

from fastdiffusers.caching.stack import Streams

RESIDUAL, OUTPUT = "residual", "output"
STEP, SIGMA = "step", "sigma"


class Reuse:
    """The value of the last computed step, as it was; and what the forecasts have in common.

    Args:
        of: ``residual`` or ``output``.
        order: number of differences n; what has been seen less often than n + 1 times is forecast to a lower order.
        nodes: where steps lie on the axis: ``step`` (their index) or ``sigma``.
        damping: factor in [0, 1] by which each further order counts less; 1 is the undamped forecast.
    """

    def __init__(self, of: str = RESIDUAL, order: int = 0, nodes: str = STEP, damping: float = 1.0) -> None:
        self.of = of
        self.order = order
        self.nodes = nodes
        self.damping = damping
        self.terms: list[Streams] = []
        self.seen: list[float] = []  # the nodes that the terms come from, latest first

    def learn(self, node: float, value: Streams) -> None:
        """Take in the value of a computed step."""
        old, self.seen = self.terms, [node, *self.seen[: self.order]]
        self.terms = [value]
        for i, before in enumerate(old[: self.order]):
            gap = self.gap(i)
            self.terms.append(tuple((a - b) / gap for a, b in zip(self.terms[i], before, strict=True)))

    def forecast(self, node: float) -> Streams:
        """The value to be expected at ``node``."""
        value = self.terms[0]
        for i, term in enumerate(self.terms[1:], start=1):
            weight = self.damping**i * self.weight(i, node)
            value = tuple(v + weight * d for v, d in zip(value, term, strict=True))
        return value

    def stand_in(self, node: float) -> Streams:
        """The forecast in tensors that may be changed in place by whoever gets them: what is kept is copied."""
        value = self.forecast(node)
        return tuple(tensor.clone() for tensor in value) if value is self.terms[0] else value

    def gap(self, i: int) -> float:
        """What the difference of two Dⁱ is divided by to give Dⁱ⁺¹."""
        raise NotImplementedError

    def weight(self, i: int, node: float) -> float:
        """wᵢ, the undamped weight of Dⁱ in the forecast for ``node``."""
        raise NotImplementedError

    def held(self) -> list[Any]:
        """The tensors that are kept."""
        return [tensor for term in self.terms for tensor in term]


class Taylor(Reuse):
    """TaylorSeer's forecast (Liu et al. 2025): Dⁱ⁺¹ = (Dⁱ − Dⁱ_before) / last gap, Σ Dⁱ·kⁱ / i! at k steps on.

    These are backward differences on one side of the last step, so a polynomial is met exactly up to degree 1 only: on
    t² with gap N, order 2 errs by N·k.
    """

    def gap(self, i: int) -> float:
        return self.seen[0] - self.seen[1]

    def weight(self, i: int, node: float) -> float:
        return (node - self.seen[0]) ** i / math.factorial(i)


class Newton(Reuse):
    """Newton's divided differences on the true nodes, however uneven: exact for polynomials of degree n.

    Dⁱ⁺¹ = (Dⁱ − Dⁱ_before) / (x_m − x_{m−i−1}), forecast Σ Dⁱ·Π_{j<i} (x − x_{m−j}).
    """

    def gap(self, i: int) -> float:
        return self.seen[0] - self.seen[i + 1]

    def weight(self, i: int, node: float) -> float:
        return math.prod(node - seen for seen in self.seen[:i])
