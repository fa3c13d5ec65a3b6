"""An accelerator that compiles the blocks: attaches an engine, and accounts for what it did. No Paddle until then."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from typing import Any

from fastdiffusers.accelerator import Accelerator, Effect
from fastdiffusers.caching.stack import stack_of
from fastdiffusers.compilation.engine import Engine
from fastdiffusers.compilation.loop import LOOPS
from fastdiffusers.counting import counted
from fastdiffusers.errors import CompileError, PluginError
from fastdiffusers.recorder import Recorder
from fastdiffusers.session import dtype_of


class Compiler(Accelerator):
    """A subclass chooses the engine. Its config has ``scope``, ``dynamic`` and ``fallback``."""

    @abstractmethod
    def engine(self, dtype: str, hidden: int) -> tuple[Engine, str]:
        """The engine for a model that computes in ``dtype`` with ``hidden`` channels, and why not the plan's, if so."""

    def attach(self, pipe: Any, recorder: Recorder) -> None:
        """Put a loop that asks for programs in place of the plain loop over the blocks."""
        from fastdiffusers.compilation.programs import Programs

        stack = stack_of(pipe.info.family)
        model = pipe.transformer
        try:
            stack.check_plain(model.block_loop, "a compiler")
        except PluginError:
            other = type(model.block_loop).__name__
            raise CompileError(
                f"{other} has replaced the loop over the blocks already; attach the compiler first"
            ) from None
        engine, self._why = self.engine(dtype_of(pipe), _hidden(model))
        engine.require()
        if engine.flags:
            recorder.flags(engine.flags)
        config = self.config
        self._programs = Programs(
            engine, stack, model, pipe.info.name, config.dynamic, fallback=config.fallback == "eager"
        )
        self._blocks = len(stack.blocks(model))
        recorder.patch(model, "block_loop", LOOPS[config.scope](self._programs))
        recorder.on_reset(self._programs.begin)
        recorder.on_detach(self._programs.close)

    def effect(self) -> Effect:
        """Which engine ran how often in the latest generation, and what it took to make the programs."""
        programs = self._programs
        log, engine = programs.log, programs.engine
        did = log.runs > 0 and log.eager == 0
        parts = []
        if log.runs:
            parts.append(
                f"{engine.label} ran {self._blocks} blocks as {counted(len(log.spans), 'program')}, "
                f"{counted(log.runs, 'call')}"
            )
        if log.eager:
            parts.append(f"the EAGER blocks ran {counted(log.eager, 'time')}")
        if not (log.runs or log.eager):
            parts.append(f"{engine.label} was never reached: something else runs the blocks")
        if log.groups is not None:
            parts.append(f"{counted(log.groups, 'fused group')}")
        if log.made:
            parts.append(f"compiled {counted(log.made, 'program')} in {log.made_s:.1f} s")
        if log.loaded:
            parts.append(f"took {counted(log.loaded, 'program')} from disk in {log.loaded_s:.1f} s")
        parts += [self._why, *log.notes]
        stats = {
            "engine": engine.name,
            "label": engine.label,
            "calls": log.runs,
            "eager_calls": log.eager,
            "programs": len(log.spans),
            "compiled": log.made,
            "compile_s": round(log.made_s, 3),
            "loaded": log.loaded,
            "load_s": round(log.loaded_s, 3),
            "fused_groups": log.groups,
            "greatest_error": log.error,
            "fingerprint": hashlib.sha256(engine.label.encode()).hexdigest()[:12],
        }
        return Effect(did, "; ".join(part for part in parts if part), stats)


def _hidden(model: Any) -> int:
    """Channels of a token, or 0 where the configuration does not say it in FLUX's words."""
    heads, width = (getattr(model.config, name, None) for name in ("num_attention_heads", "attention_head_dim"))
    return heads * width if isinstance(heads, int) and isinstance(width, int) else 0
