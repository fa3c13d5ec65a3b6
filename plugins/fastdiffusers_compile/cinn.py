"""CINN, Paddle's compiler: fuses and generates kernels for a GPU. It has never been executed by its authors here."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import paddle

from fastdiffusers.compilation.engine import Built, Engine
from fastdiffusers.compilation.segment import Segment
from fastdiffusers.errors import CompileError
from fastdiffusers.models.place import on_cpu
from fastdiffusers_compile.build_info import INSTALL
from fastdiffusers_compile.static import listed

# what PaddleMIX sets for its FLUX deployments with CINN
FLAGS = {
    "FLAGS_use_cinn": True,
    "FLAGS_prim_enable_dynamic": True,
    "FLAGS_prim_all": True,
    "FLAGS_use_cuda_managed_memory": True,
}
# names of the operations that stand for what CINN has fused
GROUPS = ("cinn_op.group", "cinn_op.fusion", "cinn_runtime.jit_kernel")


class CinnEngine(Engine):
    """Traced blocks compiled by CINN. Paddle itself falls back in silence, so what came out is looked at."""

    name = "cinn"
    filed = False

    def __init__(self, dtype: str) -> None:
        self.dtype = dtype
        self.tolerance = 1e-3 if dtype == "float32" else 0.1
        known = paddle.base.core.globals()
        self.flags = {name: value for name, value in FLAGS.items() if name in known}

    @property
    def label(self) -> str:
        return f"CINN in {self.dtype}"

    def require(self) -> None:
        """The conditions under which Paddle's own `cinn_is_available` is true."""
        lacking = [
            what
            for what, there in (
                ("CINN compiled in", paddle.is_compiled_with_cinn()),
                ("CUDA compiled in", paddle.is_compiled_with_cuda()),
                ("a GPU to compute on", not on_cpu()),
                ("Linux", platform.system() == "Linux"),
                ("the new IR (FLAGS_enable_pir_api)", paddle.framework.use_pir_api()),
                # Paddle's own switch, which turns CINN off without a word
                ("ENABLE_CINN_IN_DY2ST left unset", _switched_on(os.environ.get("ENABLE_CINN_IN_DY2ST"))),
            )
            if not there
        ]
        if lacking:
            raise CompileError(f"CINN cannot run: it lacks {', '.join(lacking)}; {INSTALL}")

    def build(self, segment: Segment, files: Path | None) -> Built:
        # A full graph, or Paddle would give up in silence after 40 s a function, or 15 min in all, and go on eagerly
        static = paddle.jit.to_static(segment.forward, full_graph=True, backend="CINN")
        return Built(lambda tensors: self._checked(segment, static, tensors), lambda: fused_groups(static))

    def _checked(self, segment: Segment, static: Any, tensors: Sequence[Any]) -> list[Any]:
        """The program's answer; `CompileError` when CINN has fused nothing in it."""
        found = static(list(tensors))
        if fused_groups(static) == 0:
            raise CompileError(f"{segment.label}: Paddle compiled without CINN after all, nothing is fused")
        return listed(found)


def _switched_on(value: str | None) -> bool:
    return value is None or value.strip().lower() in ("1", "true")


def fused_groups(static: Any) -> int:
    """How many fused groups the programs of a traced function hold."""
    found = 0
    for _, (_, partial) in static.program_cache._caches.items():
        program = partial.infer_program.program
        found += sum(op.name() in GROUPS for op in program.global_block().ops)
    return found
