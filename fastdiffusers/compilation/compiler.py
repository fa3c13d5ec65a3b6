"""An accelerator that compiles networks: attaches an engine, and accounts for what it did. No Paddle until then."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fastdiffusers.accelerator import Accelerator, Effect
from fastdiffusers.caching.stack import stack_of
from fastdiffusers.compilation.engine import Engine
from fastdiffusers.compilation.loop import AUTO, LOOPS
from fastdiffusers.compilation.whole import TRANSFORMER, WholeCall, WholeNetwork, chosen_parts, compilable_of
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

    def ran(self) -> str:
        """What the engine ran in the latest generation."""
        log = self.programs.log
        places = f" as {counted(len(log.places), 'program')}" if self.part == TRANSFORMER else ""
        return f"{self.what}{places}, {counted(log.runs, 'call')}" if log.runs else ""

    def not_ran(self) -> str:
        """What it did not; nothing for a whole network that nobody called."""
        log, label = self.programs.log, self.programs.engine.label
        if log.eager:
            return f"{self.what} ran {counted(log.eager, 'time')} EAGER"
        if not log.runs and self.part == TRANSFORMER:
            return f"{label} was never reached: something else runs the blocks"
        return ""


class Compiler(Accelerator):
    """A subclass chooses the engine. Its config has ``parts``, ``scope``, ``dynamic`` and ``fallback``."""

    @abstractmethod
    def engine(self, part: str, dtype: str, width: int) -> tuple[Engine, str]:
        """The engine for a part of a model that computes in ``dtype``, and why not the plan's, if so.

        ``width``: its channels of a token, 0 where it has none or its configuration does not say.
        """

    def attach(self, pipe: Any, recorder: Recorder) -> None:
        """Put what asks for programs in place of the plain loop over the blocks, and of whole networks."""
        compilable = compilable_of(pipe.info.family)
        dtype = dtype_of(pipe)
        engine, self._why = self.engine(TRANSFORMER, dtype, _width(pipe.transformer))
        parts = chosen_parts(self.config, compilable, engine.gains)
        engine.require()
        if engine.flags:
            recorder.flags(engine.flags)
        self._compiled: list[_Compiled] = []
        if TRANSFORMER in parts:
            self._attach_blocks(engine, pipe, recorder)
        for part in parts:
            for network in compilable.get(part, ()):
                self._attach_whole(network, part, dtype, pipe, recorder)

    def _attach_whole(self, network: WholeNetwork, part: str, dtype: str, pipe: Any, recorder: Recorder) -> None:
        layer = network.of(pipe)
        if layer is None:
            if AUTO not in self.config.parts:
                raise CompileError(f"this pipeline has no {network.path} to compile; leave {part} out of parts")
            self._why = "; ".join(part for part in (self._why, f"no {network.path} to compile") if part)
            return
        engine = self.engine(part, dtype, _width(layer))[0]
        # of a text encoder, which may be the largest network of all, not more than one copy
        programs = self._programs_of(engine, [layer], pipe, recorder, **({"most": 1} if network.early else {}))
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

    def _programs_of(self, engine: Engine, layers: list[Any], pipe: Any, recorder: Recorder, **more: Any) -> Programs:
        from fastdiffusers.compilation.programs import Programs

        config = self.config
        programs = Programs(engine, layers, pipe.info.name, config.dynamic, config.fallback == "eager", **more)
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
        labels = dict.fromkeys(compiled.programs.engine.label for compiled in self._compiled)
        parts = []
        for label in labels:
            ran = [one.ran() for one in self._compiled if one.programs.engine.label == label and one.ran()]
            parts += [f"{label} ran {' and '.join(ran)}"] if ran else []
        parts += [text for text in (compiled.not_ran() for compiled in self._compiled) if text]
        if not parts:
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
            "fingerprint": hashlib.sha256(" ".join(labels).encode()).hexdigest()[:12],
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
