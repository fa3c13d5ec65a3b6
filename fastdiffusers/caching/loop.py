"""The engine: a block loop that asks a design, unit by unit, what to run and what to stand in for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from fastdiffusers.caching.design import Branch, Design, Unit
from fastdiffusers.caching.estimators import RESIDUAL
from fastdiffusers.caching.indicators import Moment
from fastdiffusers.caching.scopes import Modules
from fastdiffusers.caching.stack import BlockStack, Form, Streams, Walk
from fastdiffusers.recorder import Recorder

Loop = Callable[..., Any]


@dataclass
class Log:
    """What happened in the latest generation.

    Attributes:
        steps: guidance branch, and whether everything was computed, for each evaluation.
        shares: the share of the blocks (or modules) that was run in it.
        distances: what the indicators measured.
        peak: most bytes held at once.
    """

    steps: list[tuple[str, bool]] = field(default_factory=list)
    shares: list[float] = field(default_factory=list)
    distances: list[float] = field(default_factory=list)
    peak: int = 0
    _latest: tuple[str, int] | None = None
    _held: dict[tuple[int, str], int] = field(default_factory=dict)

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
        for entries in (self.steps, self.shares, self.distances, self._held):
            entries.clear()
        self.peak, self._latest = 0, None


class CacheLoop:
    """A block loop around ``inner``; which of its blocks are run is up to ``design``."""

    def __init__(self, inner: Loop, stack: BlockStack, recorder: Recorder, design: Design, log: Log) -> None:
        self.inner = inner
        self.stack = stack
        self.context = recorder.context
        self.design = design
        self.log = log
        self.state = recorder.state(lambda: Branch(design))

    def __call__(self, model: Any, image: Any, text: Any, *conditions: Any) -> Any:
        """As the plain loop: from the embedded image and text tokens to the image tokens after the last block."""
        if not self.context.active:
            return self.inner(model, image, text, *conditions)
        walk = Walk(self.stack, model, image, text, conditions)
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
        spans = self.design.scope.spans(len(walk.blocks))
        return [Unit(a, b, walk.blocks[b - 1][0].form, self.design.estimator()) for a, b in spans]

    def _moment(self, branch: Branch, walk: Walk, index: int) -> Moment:
        context = self.context
        return Moment(context.step, context.steps, context.sigma, context.grid, index, branch.units, walk)

    def _decide(self, branch: Branch, moment: Moment) -> bool:
        branch.indicator.distance = None
        compute = branch.decide(moment)
        if branch.indicator.distance is not None:
            self.log.distances.append(branch.indicator.distance)
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
            value = unit.estimator.forecast(unit.node(moment))
            walk.jump(unit.stop, _added(walk.seen_as(streams, form, after), value) if residual else value)
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
            # a copy: what comes out may be a view that keeps a larger tensor alive
            return tuple(stream.clone() for stream in walk.streams)
        entered = walk.seen_as(before, form, walk.form)
        return tuple(out - into for out, into in zip(walk.streams, entered, strict=True))

    def _tell(self, branch: Branch, computed: bool, share: float) -> None:
        self.log.note(self.context.branch, self.context.step, computed, share)
        self.log.hold(self, self.context.branch, branch.held())


def _added(streams: Streams, value: Streams) -> Streams:
    return tuple(stream + residual for stream, residual in zip(streams, value, strict=True))


class ModuleLoop(CacheLoop):
    """Runs ``inner`` always; the decision of a step is carried out by the modules that `Site` objects stand before."""

    def __call__(self, model: Any, image: Any, text: Any, *conditions: Any) -> Any:
        if not self.context.active:
            return self.inner(model, image, text, *conditions)
        walk = Walk(self.stack, model, image, text, conditions)
        branch = self._branch(walk)
        # every module is a unit, but one decision, that of the first, holds for all of them
        moment = replace(self._moment(branch, walk, 0), units=branch.units[:1])
        branch.computing = self._decide(branch, moment)
        out = self.inner(model, image, text, *conditions)
        self._tell(branch, branch.computing, float(branch.computing))
        return out

    def _units(self, walk: Walk) -> list[Unit]:
        depth = len(walk.blocks)
        return [Unit(0, depth, None, self.design.estimator()) for _ in self._methods(walk.blocks)]

    def _methods(self, blocks: list[tuple[Any, Any]]) -> list[tuple[Any, str]]:
        kind = self.design.scope.kind if isinstance(self.design.scope, Modules) else "all"
        return [(_below(block, path), name) for group, block in blocks for path, name in group.modules.get(kind, ())]

    def patch(self, recorder: Recorder, model: Any) -> None:
        """Put a `Site` before every module of ``model``."""
        for index, (owner, name) in enumerate(self._methods(self.stack.blocks(model))):
            recorder.patch(owner, name, Site(self, getattr(owner, name), index))


class Site:
    """Stands before one method of one module: calls it when the step is computed, forecasts its outputs otherwise."""

    def __init__(self, loop: ModuleLoop, inner: Loop, index: int) -> None:
        self.loop = loop
        self.inner = inner
        self.index = index

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        branch = self.loop.state()
        if not (self.loop.context.active and branch.units):
            return self.inner(*args, **kwargs)
        unit = branch.units[self.index]
        context = self.loop.context
        node = unit.node(Moment(context.step, context.steps, context.sigma))
        if not branch.computing:
            value = unit.estimator.forecast(node)
            return value if len(value) > 1 else value[0]
        out = self.inner(*args, **kwargs)
        unit.estimator.learn(node, tuple(out) if isinstance(out, tuple) else (out,))
        return out


def _below(block: Any, path: str) -> Any:
    for name in path.split(".") if path else ():
        block = getattr(block, name)
    return block
