"""An accelerator that compiles networks: attaches an engine, and accounts for what it did. No Paddle until then."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fastdiffusers.accelerator import Accelerator, Effect
from fastdiffusers.caching.stack import stack_of
from fastdiffusers.compilation.engine import Engine
from fastdiffusers.compilation.loop import LOOPS
from fastdiffusers.compilation.whole import TRANSFORMER, WholeCall, chosen_parts
from fastdiffusers.counting import counted
from fastdiffusers.errors import CompileError, PluginError
from fastdiffusers.recorder import Recorder
from fastdiffusers.session import dtype_of

if TYPE_CHECKING:
    from fastdiffusers.compilation.programs import Programs


@dataclass(frozen=True)
class _Compiled:
    what: str
    part: str
    programs: Programs

    def words(self) -> str:
        """What ran in the latest generation; nothing for a whole network that was not called."""
        log, label = self.programs.log, self.programs.engine.label
        parts = []
        if log.runs:
            places = f" as {counted(len(log.places), 'program')}" if self.part == TRANSFORMER else ""
            parts.append(f"{label} ran {self.what}{places}, {counted(log.runs, 'call')}")
        if log.eager:
            eager = "the EAGER blocks" if self.part == TRANSFORMER else f"{self.what}, EAGER,"
            parts.append(f"{eager} ran {counted(log.eager, 'time')}")
        if not (log.runs or log.eager) and self.part == TRANSFORMER:
            parts.append(f"{label} was never reached: something else runs the blocks")
        return "; ".join(parts)


class Compiler(Accelerator):
    """A subclass chooses the engine. Its config has ``parts``, ``scope``, ``dynamic`` and ``fallback``."""

    @abstractmethod
    def engine(self, part: str, dtype: str, width: int) -> tuple[Engine, str]:
        """The engine for a part of a model that computes in ``dtype``, and why not the plan's, if so.

        ``width``: its channels of a token, 0 where it has none or its configuration does not say.
        """

    def attach(self, pipe: Any, recorder: Recorder) -> None:
        """Put what asks for programs in place of the plain loop over the blocks, and of whole networks."""
        from fastdiffusers.plugins import registry

        family = registry().pipelines.get(pipe.info.family)
        compilable = family.compilable if family is not None else {}
        model, dtype = pipe.transformer, dtype_of(pipe)
        engine, self._why = self.engine(TRANSFORMER, dtype, _width(model))
        parts = chosen_parts(self.config.parts, compilable, engine.gains)
        engine.require()
        if engine.flags:
            recorder.flags(engine.flags)
        self._compiled: list[_Compiled] = []
        if TRANSFORMER in parts:
            self._attach_blocks(engine, pipe, recorder)
        for part in parts:
            for network in compilable.get(part, ()):
                layer = network.of(pipe)
                programs = self._programs_of(self.engine(part, dtype, _width(layer))[0], [layer], pipe, recorder)
                call = WholeCall(network, layer, programs)
                recorder.patch(layer, "forward", call)
                recorder.on_reset(call.begin)
                self._compiled.append(_Compiled(network.name, part, programs))

    def _attach_blocks(self, engine: Engine, pipe: Any, recorder: Recorder) -> None:
        from fastdiffusers.compilation.stretches import Stretches

        stack, model = stack_of(pipe.info.family), pipe.transformer
        try:
            stack.check_plain(model.block_loop, "a compiler")
        except PluginError:
            other = type(model.block_loop).__name__
            raise CompileError(
                f"{other} has replaced the loop over the blocks already; attach the compiler first"
            ) from None
        blocks = [block for _, block in stack.blocks(model)]
        programs = self._programs_of(engine, blocks, pipe, recorder)
        recorder.patch(model, "block_loop", LOOPS[self.config.scope](Stretches(programs, stack, model)))
        recorder.on_reset(programs.begin)
        self._compiled.append(_Compiled(counted(len(blocks), "block"), TRANSFORMER, programs))

    def _programs_of(self, engine: Engine, layers: list[Any], pipe: Any, recorder: Recorder) -> Programs:
        from fastdiffusers.compilation.programs import Programs

        config = self.config
        programs = Programs(engine, layers, pipe.info.name, config.dynamic, fallback=config.fallback == "eager")
        recorder.on_detach(programs.close)
        return programs

    def effect(self) -> Effect:
        """Which engine ran what how often in the latest generation, and what it took to make the programs."""
        every = [compiled.programs.log for compiled in self._compiled]
        first = self._compiled[0]
        log, engine = first.programs.log, first.programs.engine
        reached = log.runs > 0 if first.part == TRANSFORMER else any(other.runs for other in every)
        groups = [other.groups for other in every if other.groups is not None]
        made, loaded = sum(other.made for other in every), sum(other.loaded for other in every)
        made_s, loaded_s = sum(other.made_s for other in every), sum(other.loaded_s for other in every)
        parts = [compiled.words() for compiled in self._compiled]
        if not any(parts):
            parts.append(f"{engine.label} was never reached")
        if groups:
            parts.append(counted(sum(groups), "fused group"))
        if made:
            parts.append(f"compiled {counted(made, 'program')} in {made_s:.1f} s")
        if loaded:
            parts.append(f"took {counted(loaded, 'program')} from disk in {loaded_s:.1f} s")
        parts += [self._why, *dict.fromkeys(note for other in every for note in other.notes)]
        stats = {
            "engine": engine.name,
            "label": engine.label,
            "calls": log.runs if first.part == TRANSFORMER else 0,
            "eager_calls": sum(other.eager for other in every),
            "programs": len(log.places) if first.part == TRANSFORMER else 0,
            "whole_calls": {one.what: one.programs.log.runs for one in self._compiled if one.part != TRANSFORMER},
            "compiled": made,
            "compile_s": round(made_s, 3),
            "loaded": loaded,
            "load_s": round(loaded_s, 3),
            "fused_groups": sum(groups) if groups else None,
            "greatest_error": max(other.error for other in every),
            "fingerprint": hashlib.sha256(engine.label.encode()).hexdigest()[:12],
        }
        did = reached and not any(other.eager for other in every)
        return Effect(did, "; ".join(part for part in parts if part), stats)


def _width(model: Any) -> int:
    """Channels of a token, or 0 where the configuration does not say it in any known words."""
    config = getattr(model, "config", None)
    heads, width = (getattr(config, name, None) for name in ("num_attention_heads", "attention_head_dim"))
    if isinstance(heads, int) and isinstance(width, int):
        return heads * width
    known = (getattr(config, name, None) for name in ("d_model", "hidden_size"))
    return next((found for found in known if isinstance(found, int)), 0)
