"""When a step, or a stretch of blocks within it, is computed. No Paddle: tensors bring their own arithmetic.

An indicator belongs to one unit of one guidance branch of one generation. It is asked (`due`) unless a rule forces the
step, and told what was decided (`note`) in every case.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fastdiffusers.caching.ranks import summed
from fastdiffusers.caching.scopes import Between, Scope
from fastdiffusers.errors import PlanError

if TYPE_CHECKING:
    from fastdiffusers.caching.design import Unit
    from fastdiffusers.caching.stack import Walk


@dataclass
class Moment:
    """Where a decision is taken: step, noise level, token grid, which unit of the scope, and the tokens before it.

    ``ranks`` is the process group that takes it together, see `StepContext`.
    """

    step: int
    steps: int
    sigma: float
    grid: tuple[int, int] | None = None
    unit: int = 0
    units: Sequence[Unit] = ()
    walk: Walk | None = None
    ranks: Any = None

    @property
    def tokens(self) -> Walk:
        """The walk; only indicators that are not ``blind`` may look at it."""
        if self.walk is None:
            raise RuntimeError("this indicator looks at tokens and cannot be simulated")
        return self.walk


def relative_change(a: Any, b: Any, ranks: Any = None) -> float:
    """δ(a, b) = mean|a − b| / mean|b|, over a batch as over tokens; one transfer to the host.

    The means are those over all ``ranks``, if there are several with equally many tokens each.
    """
    change, size = summed(((a - b).abs().mean(), b.abs().mean()), ranks)
    return float((change / size).astype("float32").item())


class Indicator:
    """Decides by `due`.

    ``blind``: it looks at no tensor, so that a plan can foretell it exactly. ``common``: one decides for all units.
    """

    blind = False
    common = False
    distance: float | None = None  # what the latest `due` measured, for the record

    def due(self, moment: Moment) -> bool:
        """Whether the unit has to be computed."""
        raise NotImplementedError

    def note(self, moment: Moment, computed: bool) -> None:
        """Learn what was decided, by `due` or by a rule."""

    def check(self, scope: Scope) -> None:
        """Raise a one-line `PlanError` when the indicator makes no sense for ``scope``."""

    def held(self) -> list[Any]:
        """The tensors that are kept."""
        return []


class ProbeChange(Indicator):
    """TeaCache's: acc += P(δ(m_t, m_{t−1})), m the probe of the step before, computed or not; due when acc ≥ threshold.

    ``rescale`` is P; ``view(probe, moment)`` may filter or cut the probe first (SeaCache, TeaBlockCache).
    """

    def __init__(
        self,
        threshold: float,
        rescale: Callable[[float], float] | None = None,
        view: Callable[[Any, Moment], Any] | None = None,
    ) -> None:
        self.threshold = threshold
        self.rescale = rescale
        self.view = view
        self.accumulated = 0.0
        self.before: Any = None
        self._now: tuple[int, Any] | None = None

    def due(self, moment: Moment) -> bool:
        self.distance = relative_change(self._probe(moment), self.before, moment.ranks)
        self.accumulated += self.rescale(self.distance) if self.rescale else self.distance
        # "not below" instead of "at or above": a change that is no number computes
        return not self.accumulated < self.threshold

    def note(self, moment: Moment, computed: bool) -> None:
        self.before, self._now = self._probe(moment), None
        self.accumulated = 0.0 if computed else self.accumulated

    def held(self) -> list[Any]:
        return [] if self.before is None else [self.before]

    def _probe(self, moment: Moment) -> Any:
        if self._now is None or self._now[0] != moment.step:
            probe = moment.tokens.probe()
            self._now = (moment.step, self.view(probe, moment) if self.view else probe)
        return self._now[1]


class FirstBlocks(Indicator):
    """First Block Cache's: due unless δ(ρ_t, ρ_ref) < threshold, ρ the image residual of the blocks before the unit.

    ρ_ref belongs to the last computed step.
    """

    def __init__(self, threshold: float) -> None:
        self.threshold = threshold
        self.reference: Any = None

    def check(self, scope: Scope) -> None:
        if not (isinstance(scope, Between) and scope.first > 0):
            raise PlanError("the first-block indicator needs blocks that are always computed; use scope=fnbn:first=1")

    def due(self, moment: Moment) -> bool:
        self.distance = relative_change(self._residual(moment), self.reference, moment.ranks)
        return not self.distance < self.threshold

    def note(self, moment: Moment, computed: bool) -> None:
        if computed:
            self.reference = self._residual(moment)

    def held(self) -> list[Any]:
        return [] if self.reference is None else [self.reference]

    @staticmethod
    def _residual(moment: Moment) -> Any:
        return moment.tokens.image() - moment.tokens.entry


class Interval(Indicator):
    """Due ``every`` steps after the last computed one (FORA, TaylorSeer, BlockDance)."""

    blind = True

    def __init__(self, every: int) -> None:
        self.every = every
        self.last = -1

    def due(self, moment: Moment) -> bool:
        return moment.step - self.last >= self.every

    def note(self, moment: Moment, computed: bool) -> None:
        if computed:
            self.last = moment.step


class Mask(Indicator):
    """Due at the steps of an offline schedule, and beyond the ``steps`` it speaks of (None: it speaks of all)."""

    blind = True

    def __init__(self, computed: Container[int], steps: int | None = None) -> None:
        self.computed = computed
        self.steps = steps

    def due(self, moment: Moment) -> bool:
        return moment.step in self.computed or (self.steps is not None and moment.step >= self.steps)


class Replay(Indicator):
    """Measures as ``inner`` does, at its cost, but decides as was decided before, perhaps on another model.

    ``marks`` has a text for each step and in it a sign for each unit: x computed, anything else skipped.
    """

    def __init__(self, inner: Indicator, marks: Sequence[str]) -> None:
        self.inner = inner
        self.marks = marks
        self.blind, self.common = inner.blind, inner.common
        self._own: bool | None = None

    def due(self, moment: Moment) -> bool:
        self._own = self.inner.due(moment)
        self.distance = self.inner.distance
        return self.marks[moment.step][moment.unit] == "x"

    def note(self, moment: Moment, computed: bool) -> None:
        # one that decides for all units at once would take another's decision for a rule's, and measure anew each time
        own = computed if self._own is None or not self.common else self._own
        self.inner.note(moment, own)
        self._own = None

    def check(self, scope: Scope) -> None:
        self.inner.check(scope)

    def held(self) -> list[Any]:
        return self.inner.held()
