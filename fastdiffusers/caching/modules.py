"""The module scope: attention and MLP outputs are forecast one by one, the blocks around them are run."""

from __future__ import annotations

from typing import Any

from fastdiffusers.caching.design import Unit
from fastdiffusers.caching.indicators import Moment
from fastdiffusers.caching.loop import CacheLoop, Loop
from fastdiffusers.caching.scopes import Modules
from fastdiffusers.caching.stack import BlockGroup, ModuleSet, Walk
from fastdiffusers.recorder import Recorder


class ModuleLoop(CacheLoop):
    """Runs ``inner`` always; the decision of a step is carried out by the modules that `Site` objects stand before."""

    def __call__(self, model: Any, image: Any, text: Any, *conditions: Any) -> Any:
        if not self.context.active:
            return self.inner(model, image, text, *conditions)
        walk = Walk(self.stack, model, image, text, conditions)
        branch = self._branch(walk)
        # every module is a unit, but one decision, that of the first, holds for all of them
        branch.computing = self._decide(branch, self._moment(branch, walk, 0))
        out = self.inner(model, image, text, *conditions)
        self._tell(branch, branch.computing, 1.0 if branch.computing else self._share(walk.blocks))
        return out

    def _units(self, walk: Walk) -> list[Unit]:
        depth = len(walk.blocks)
        return [Unit(0, depth, None, self.design.estimator()) for _ in self._methods(walk.blocks)]

    def _modules(self, blocks: list[tuple[BlockGroup, Any]]) -> list[tuple[Any, ModuleSet]]:
        kind = self.design.scope.kind if isinstance(self.design.scope, Modules) else "all"
        return [(block, group.modules[kind]) for group, block in blocks if kind in group.modules]

    def _methods(self, blocks: list[tuple[BlockGroup, Any]]) -> list[tuple[Any, str]]:
        found = [(_below(b, path), name) for b, modules in self._modules(blocks) for path, name in modules.methods]
        return [(owner, name) for owner, name in found if owner is not None]  # the last block may lack its text's MLP

    def _share(self, blocks: list[tuple[BlockGroup, Any]]) -> float:
        """What is run of the blocks in a step whose modules are forecast."""
        return 1.0 - sum(modules.share for _, modules in self._modules(blocks)) / len(blocks)

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
            value = unit.estimator.stand_in(node)
            return value if len(value) > 1 else value[0]
        out = self.inner(*args, **kwargs)
        # copies, for the same reasons as those of `CacheLoop`
        unit.estimator.learn(node, tuple(t.clone() for t in (out if isinstance(out, tuple) else (out,))))
        return out


def _below(block: Any, path: str) -> Any:
    for name in path.split(".") if path else ():
        block = getattr(block, name)
    return block
