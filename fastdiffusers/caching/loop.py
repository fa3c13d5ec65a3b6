"""The engine: a block loop that asks a design, unit by unit, what to run and what to stand in for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from fastdiffusers.caching.design import Branch, Design, Unit
from fastdiffusers.caching.estimators import RESIDUAL
from fastdiffusers.caching.indicators import Moment
from fastdiffusers.caching.stack import BlockStack, Form, Streams, Walk, runner_of
from fastdiffusers.recorder import Recorder

Loop = Callable[..., Any]


@dataclass
class Log:
    """What happened in the latest generation.

    Attributes:
        steps: guidance branch, and whether everything was computed, for each evaluation.
        shares: the share of the blocks (or modules) that was run in it.
        distances: what the indicators measured.
        decisions: of each loop, from the inside out: (branch, step) → a mark for each unit, x computed, . skipped.
        peak: most bytes held at once.
    """

    steps: list[tuple[str, bool]] = field(default_factory=list)
    shares: list[float] = field(default_factory=list)
    distances: list[float] = field(default_factory=list)
    decisions: list[dict[tuple[str, int], str]] = field(default_factory=list)
    peak: int = 0
    _latest: tuple[str, int] | None = None
    _held: dict[tuple[int, str], int] = field(default_factory=dict)

    def enrol(self) -> int:
        """The number of one more loop that tells what it decides."""
        self.decisions.append({})
        return len(self.decisions) - 1

    def decide(self, number: int, branch: str, step: int, computed: bool) -> None:
        """What loop ``number`` decided for its next unit."""
        marks = self.decisions[number]
        marks[branch, step] = marks.get((branch, step), "") + ("x" if computed else ".")

    def note(self, branch: str, step: int, computed: bool, share: float) -> None:
        """One evaluation; when a cache lies within a cache, the inner one has told of it already."""
        if (branch, step) == self._latest and self.steps:
            self.steps[-1] = (branch, computed and self.steps[-1][1])
            self.shares[-1] = min(share, self.shares[-1])
        else:
            self.steps.append((branch, computed))
            self.shares.append(share)
        self._latest = (branch, step)

    def hold(self, loop: object, branch: str, held: int) -> None:
        """The bytes that ``loop`` holds for ``branch`` now."""
        self._held[id(loop), branch] = held
        self.peak = max(self.peak, sum(self._held.values()))

    def clear(self) -> None:
        """Forget everything: a generation begins."""
        for entries in (self.steps, self.shares, self.distances):
            entries.clear()
        self._held.clear()
        for marks in self.decisions:
            marks.clear()
        self.peak, self._latest = 0, None


class CacheLoop:
    """A block loop around ``inner``; which of its blocks are run is up to ``design``."""

    def __init__(self, inner: Loop, stack: BlockStack, recorder: Recorder, design: Design, log: Log) -> None:
        self.inner = inner
        self.runner = runner_of(inner)
        self.stack = stack
        self.context = recorder.context
        self.design = design
        self.log = log
        self.number = log.enrol()
        self.state = recorder.state(lambda: Branch(design))

    def __call__(self, model: Any, image: Any, text: Any, *conditions: Any) -> Any:
        """As the plain loop: from the embedded image and text tokens to the image tokens after the last block."""
        if not self.context.active:
            return self.inner(model, image, text, *conditions)
        walk = Walk(self.stack, model, image, text, conditions, self.runner)
        branch = self._branch(walk)
        computed = True
        for index, unit in enumerate(branch.units):
            walk.run(unit.start)
            computed &= self._pass(branch, self._moment(branch, walk, index), unit, (model, image, text, *conditions))
        walk.run(len(walk.blocks))
        self._tell(branch, computed, walk.ran / len(walk.blocks))
        return walk.streams[0]

    def _branch(self, walk: Walk) -> Branch:
        branch = self.state()
        if branch.shape != walk.entry.shape:  # new, or not the tokens it was made for
            branch.begin(walk.entry.shape, self._units(walk))
        return branch

    def _units(self, walk: Walk) -> list[Unit]:
        spans = self.design.scope.spans([group.form for group, _ in walk.blocks])
        return [Unit(a, b, walk.blocks[b - 1][0].form, self.design.estimator()) for a, b in spans]

    def _moment(self, branch: Branch, walk: Walk, index: int) -> Moment:
        context = self.context
        return Moment(
            context.step, context.steps, context.sigma, context.grid, index, branch.units, walk, context.ranks
        )

    def _decide(self, branch: Branch, moment: Moment) -> bool:
        compute = branch.decide(moment)
        self.log.decide(self.number, self.context.branch, moment.step, compute)
        distance = branch.indicators[moment.unit].distance
        if distance is not None:
            self.log.distances.append(distance)
        return compute

    def _pass(self, branch: Branch, moment: Moment, unit: Unit, arguments: tuple[Any, ...]) -> bool:
        """Bring the walk to the end of ``unit``, one way or the other; returns whether it was computed."""
        walk = moment.tokens
        walk.take(walk.blocks[unit.start][0].form)
        compute = self._decide(branch, moment)
        form, streams = walk.form, walk.streams
        after = walk.form_at(unit.stop)
        residual = unit.estimator.of == RESIDUAL
        if not compute:
            node = unit.node(moment)
            if residual:
                walk.jump(unit.stop, _added(walk.seen_as(streams, form, after), unit.estimator.forecast(node)))
            else:
                walk.jump(unit.stop, unit.estimator.stand_in(node))
            return False
        if (unit.start, unit.stop) == (0, len(walk.blocks)):  # whatever loop is there, a compiled one perhaps
            walk.jump(unit.stop, (self.inner(*arguments),))
            walk.ran = unit.stop
        else:
            walk.run(unit.stop)
        unit.estimator.learn(unit.node(moment), self._value(walk, streams, form, residual))
        return True

    @staticmethod
    def _value(walk: Walk, before: Streams, form: Form, residual: bool) -> Streams:
        if not residual:
            # a copy: what comes out may be changed in place, or be a view that keeps a larger tensor alive
            return tuple(stream.clone() for stream in walk.streams)
        entered = walk.seen_as(before, form, walk.form)
        return tuple(out - into for out, into in zip(walk.streams, entered, strict=True))

    def _tell(self, branch: Branch, computed: bool, share: float) -> None:
        self.log.note(self.context.branch, self.context.step, computed, share)
        self.log.hold(self, self.context.branch, branch.held())


def _added(streams: Streams, value: Streams) -> Streams:
    return tuple(stream + residual for stream, residual in zip(streams, value, strict=True))
