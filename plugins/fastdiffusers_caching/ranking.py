"""SortBlock (arXiv 2508.00412): between full steps, only the blocks whose residual is forecast worst are computed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastdiffusers.caching.indicators import Indicator, Moment
from fastdiffusers.caching.ranks import summed
from fastdiffusers.caching.scopes import Blocks, Scope
from fastdiffusers.errors import PlanError

# ρ(t) for β = 1, highest power first, t = 1000 σ; published for FLUX.1-dev
RATIO = (5.67621e-14, -1.36659e-10, 1.16246e-7, -3.97725e-5, 0.00361, 0.56088)
CHANNELS = 8  # similarity is taken on the first C / 8 channels


def update_ratio(sigma: float, beta: float) -> float:
    """ρ(t) = β·(5.67621e-14 t⁵ − 1.36659e-10 t⁴ + … + 0.56088): the share of blocks to compute, not below 0."""
    value, t = 0.0, 1000.0 * sigma
    for coefficient in RATIO:
        value = value * t + coefficient
    return max(beta * value, 0.0)


def least_similar(scores: Sequence[float], ratio: float) -> list[int]:
    """Positions of the int(L·ρ) + 1 lowest of L scores (of all, if that is more); equal ones in their order."""
    return sorted(range(len(scores)), key=scores.__getitem__)[: int(len(scores) * ratio) + 1]


class SortBlock(Indicator):
    """Steps ≡ 0 (mod ``period``) are full; the step after a full one ranks the blocks for those up to the next.

    s_l = mean over tokens of cos(Δ^l stored, Δ̂^l forecast). Lists of blocks of different form are ranked apart.
    """

    common = True

    def __init__(self, period: int, beta: float) -> None:
        self.period = period
        self.beta = beta
        self.flagged: frozenset[int] | None = None

    def due(self, moment: Moment) -> bool:
        if moment.step % self.period == 0:
            return True
        if self.flagged is None:
            self.flagged = self._rank(moment)
        return moment.unit in self.flagged

    def note(self, moment: Moment, computed: bool) -> None:
        # a full step, or a rule that computed what the ranking would not have, makes the ranking out of date
        if computed and (moment.step % self.period == 0 or moment.unit not in (self.flagged or ())):
            self.flagged = None

    def check(self, scope: Scope) -> None:
        if not isinstance(scope, Blocks):
            raise PlanError("the sortblock indicator ranks single blocks; use scope=blocks")

    def _rank(self, moment: Moment) -> frozenset[int]:
        scores = self._scores(moment)
        ratio = update_ratio(moment.sigma, self.beta)
        flagged: list[int] = []
        for form in dict.fromkeys(unit.form for unit in moment.units):
            members = [i for i, unit in enumerate(moment.units) if unit.form is form]
            flagged += [members[i] for i in least_similar([scores[i] for i in members], ratio)]
        return frozenset(flagged)

    def _scores(self, moment: Moment) -> list[float]:
        """s_l of every unit; one transfer to the host."""
        import paddle

        similar = []
        for unit in moment.units:
            forecast = unit.estimator.forecast(unit.node(moment))
            pairs = zip(unit.estimator.terms[0], forecast, strict=True)
            # image and text of a double block count by their tokens
            cosines = [_cosines(stored, expected).reshape([-1]) for stored, expected in pairs]
            similar.append(paddle.concat(cosines).mean())
        # summed over ranks instead of averaged: the ranking is the same
        return [float(score) for score in paddle.stack(list(summed(similar, moment.ranks))).astype("float32").numpy()]


def _cosines(a: Any, b: Any) -> Any:
    """Cosine of each token's first channels, [B, tokens]."""
    from paddle.nn.functional import cosine_similarity

    channels = max(a.shape[-1] // CHANNELS, 1)
    return cosine_similarity(a[..., :channels], b[..., :channels], axis=-1)
