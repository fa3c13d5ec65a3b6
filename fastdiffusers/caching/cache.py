"""An accelerator made of designs: attaches them, and accounts for what they did. No Paddle until it is attached."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from math import isfinite
from typing import Any

from fastdiffusers.accelerator import Accelerator, Effect
from fastdiffusers.caching.design import Design
from fastdiffusers.caching.loop import CacheLoop, Log
from fastdiffusers.caching.modules import ModuleLoop
from fastdiffusers.caching.scopes import Modules, Stack
from fastdiffusers.caching.stack import runner_of, stack_of
from fastdiffusers.context import COND
from fastdiffusers.errors import PluginError
from fastdiffusers.models.info import ModelInfo
from fastdiffusers.recorder import Recorder

STEP_MARK = "/"


class Cache(Accelerator):
    """A subclass names its designs, from the inside out; most have one."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self._log = Log()
        self._fingerprint = ""
        self._replayed: Sequence[str] | None = None

    @abstractmethod
    def designs(self, info: ModelInfo) -> Sequence[Design]:
        """What this configuration means on the model ``info``; a `PlanError` when it cannot be had there."""

    def replay(self, decisions: Sequence[str]) -> None:
        """Decide, once attached, as ``stats["decisions"]`` of a generation of as many steps say; measure as ever.

        So a pattern found on one model can be timed on another, with all that deciding costs there.
        """
        self._replayed = decisions

    def attach(self, pipe: Any, recorder: Recorder) -> None:
        """Put a loop for each design around the block loop that is there."""
        stack = stack_of(pipe.info.family)
        model = pipe.transformer
        for number, design in enumerate(self.designs(pipe.info)):
            design.check([group.form for group, _ in stack.blocks(model)])
            if self._replayed is not None:
                design = design.replaying(self._replayed[number].split(STEP_MARK))
            self._fingerprint += design.fingerprint
            inner = model.block_loop
            if not (isinstance(design.scope, Stack) or isinstance(inner, CacheLoop) or runner_of(inner)):
                stack.check_plain(inner, f"a cache of {type(design.scope).__name__.lower()}")
            kind = CacheLoop
            if isinstance(design.scope, Modules):
                kind = ModuleLoop
                _check_uncompiled(inner, [block for _, block in stack.blocks(model)])
            loop = kind(inner, stack, recorder, design, self._log)
            if isinstance(loop, ModuleLoop):
                loop.patch(recorder, model)
            recorder.patch(model, "block_loop", loop)
        recorder.on_reset(self._log.clear)

    def effect(self) -> Effect:
        """Steps skipped in the latest generation, per guidance branch where there are two."""
        log = self._log
        counts: dict[str, dict[str, Any]] = {}
        parts = []
        for branch in dict.fromkeys(branch for branch, _ in log.steps):
            own = [i for i, (other, _) in enumerate(log.steps) if other == branch]
            skipped = sum(not log.steps[i][1] for i in own)
            run = sum(log.shares[i] for i in own)
            whole = all(log.shares[i] in (0.0, 1.0) for i in own)
            computed = int(run) if whole else round(run, 4)
            counts[branch] = {"steps": len(own), "skipped": skipped, "computed": computed}
            text = f"skipped {skipped} of {len(own)} steps"
            if not whole:
                text += f" in part, ran {100 * run / len(own):.0f} % of the blocks"
            parts.append((branch, text))
        told = [text + (f" ({branch})" if len(parts) > 1 else "") for branch, text in parts]
        stats: dict[str, Any] = {
            **counts,
            "pattern": _pattern(log),
            "decisions": _decisions(log),
            "bytes": log.peak,
        }
        ordered = sorted(filter(isfinite, log.distances))
        if ordered:
            stats["distance"] = {
                "least": ordered[0],
                "median": ordered[len(ordered) // 2],
                "greatest": ordered[-1],
            }
        if self._fingerprint:
            stats["fingerprint"] = self._fingerprint
        skips = sum(count["skipped"] for count in counts.values())
        return Effect(skips > 0, ", ".join(told) or "no step was run", stats)


def _pattern(log: Log) -> str:
    """One letter for each step of the conditional branch: x computed, . skipped, o in part."""
    marks = [
        "x" if computed else "." if share == 0 else "o"
        for (branch, computed), share in zip(log.steps, log.shares, strict=False)
        if branch == COND
    ]
    return "".join(marks)


def _decisions(log: Log) -> list[str]:
    """For each design, the marks of its units at every step of the conditional branch; none where it was not asked."""
    steps = sum(branch == COND for branch, _ in log.steps)
    return [STEP_MARK.join(marks.get((COND, step), "") for step in range(steps)) for marks in log.decisions]


def _check_uncompiled(inner: Any, blocks: Sequence[Any]) -> None:
    if runner_of(inner) is not None or any("forward" in vars(block) for block in blocks):
        raise PluginError("a cache of modules decides within the blocks, but these are compiled; cache blocks or steps")
