"""A cache as data: scope × indicator × estimator, and the rules that hold for all of them. No Paddle."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from fastdiffusers.caching.estimators import OUTPUT, Reuse
from fastdiffusers.caching.indicators import Indicator, Moment, Replay
from fastdiffusers.caching.scopes import Modules, Scope
from fastdiffusers.caching.stack import Form
from fastdiffusers.errors import PlanError


@dataclass(frozen=True)
class Rules:
    """When a step is computed whatever the indicator says. What nothing was learnt for is always computed.

    Attributes:
        warmup, final: number of steps at the beginning and at the end.
        start, end: shares of the steps outside of which all are computed; ``start`` to the nearest whole step.
        sigma_from, sigma_to: noise levels, falling, outside of which all are computed.
        max_skips, max_consecutive: how often a unit may be skipped, in all and in a row; None: no limit.
    """

    warmup: int = 1
    final: int = 0
    start: float = 0.0
    end: float = 1.0
    sigma_from: float = 1.0
    sigma_to: float = 0.0
    max_skips: int | None = None
    max_consecutive: int | None = None

    def force(self, moment: Moment, skips: int, in_a_row: int) -> bool:
        """Whether the unit must be computed at ``moment``, having been skipped so often before."""
        early = moment.step < max(self.warmup, int(self.start * moment.steps + 0.5))
        late = moment.step >= min(moment.steps - self.final, self.end * moment.steps)
        outside = not self.sigma_to <= moment.sigma <= self.sigma_from
        often = self.max_skips is not None and skips >= self.max_skips
        long = self.max_consecutive is not None and in_a_row >= self.max_consecutive
        return early or late or outside or often or long


@dataclass(frozen=True)
class Design:
    """Where, when, what.

    Attributes:
        scope: where work may be left out.
        indicator, estimator: make new ones, for every branch of every generation and for every unit of it.
        rules: see `Rules`.
        fingerprint: short hash of what decides the picture beside the options (a calibration), or empty.
        never: nothing may be skipped (a threshold of 0).
    """

    scope: Scope
    indicator: Callable[[], Indicator]
    estimator: Callable[[], Reuse] = Reuse
    rules: Rules = field(default_factory=Rules)
    fingerprint: str = ""
    never: bool = False

    def check(self, forms: Sequence[Form]) -> None:
        """`PlanError` for a product without sense, or one that a stack of such blocks is too short for."""
        self.scope.spans(forms)
        self.indicator().check(self.scope)
        if isinstance(self.scope, Modules) and self.estimator().of != OUTPUT:
            raise PlanError("an attention or MLP module has no residual to reuse; its output is what can stand in")

    def replaying(self, marks: Sequence[str]) -> Design:
        """The same design, which measures what it measures but decides as ``marks`` say (see `Replay`)."""
        return replace(self, indicator=lambda: Replay(self.indicator(), marks))


class Unit:
    """A stretch of blocks (or all modules) of one branch, with what stands in for it and how often it did."""

    def __init__(self, start: int, stop: int, form: Form | None, estimator: Reuse) -> None:
        self.start, self.stop, self.form = start, stop, form
        self.estimator = estimator
        self.skips = self.in_a_row = 0

    @property
    def ready(self) -> bool:
        """Whether anything was learnt."""
        return bool(self.estimator.terms)

    def node(self, moment: Moment) -> float:
        """Where ``moment`` lies on the axis of the estimator."""
        return moment.sigma if self.estimator.nodes == "sigma" else float(moment.step)


class Branch:
    """What one guidance branch remembers within one generation."""

    def __init__(self, design: Design) -> None:
        self.design = design
        self.computing = True  # for the modules: what was decided for this step
        self.begin(None, [])

    def begin(self, shape: Any, units: list[Unit]) -> None:
        """Start with nothing learnt, for image tokens of ``shape``."""
        self.shape = shape
        self.units = units
        one = self.design.indicator()
        self.indicators = [one if one.common or i == 0 else self.design.indicator() for i in range(len(units))]

    def decide(self, moment: Moment) -> bool:
        """Whether the moment's unit is computed: the rules first, then the indicator."""
        unit = self.units[moment.unit]
        forced = self.design.never or not unit.ready or self.design.rules.force(moment, unit.skips, unit.in_a_row)
        indicator = self.indicators[moment.unit]
        indicator.distance = None
        compute = forced or indicator.due(moment)
        indicator.note(moment, compute)
        unit.skips += not compute
        unit.in_a_row = 0 if compute else unit.in_a_row + 1
        return compute

    def held(self) -> int:
        """Bytes of the tensors that are kept."""
        holders: list[Indicator | Reuse] = [*dict.fromkeys(self.indicators), *(unit.estimator for unit in self.units)]
        tensors = [t for holder in holders for t in holder.held() if t is not None]
        return sum(int(t.size) * t.element_size() for t in tensors)


def simulate(design: Design, sigmas: Sequence[float]) -> list[bool]:
    """Which steps a design computes whose indicator is blind to tensors."""
    branch = Branch(design)
    branch.begin(None, [Unit(0, 0, None, design.estimator())])
    pattern = []
    for step, sigma in enumerate(sigmas):
        pattern.append(branch.decide(Moment(step, len(sigmas), float(sigma), units=branch.units)))
        if pattern[-1]:
            branch.units[0].estimator.terms = [()]
    return pattern
