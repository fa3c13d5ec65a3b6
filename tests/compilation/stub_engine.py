"""Engines that do as they are told, and a compiler that attaches one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from fastdiffusers.accelerator import AcceleratorSpec, Fidelity, Kind
from fastdiffusers.compilation.compiler import Compiler
from fastdiffusers.compilation.engine import Built, Engine
from fastdiffusers.errors import CompileError
from fastdiffusers.plugins import Registry, registry
from fastdiffusers_compile.options import CompileConfig


@dataclass(frozen=True)
class StubConfig(CompileConfig):
    """``does``: eager, wrong, raises, late (raises at its first run), missing, groups, unfused."""

    does: str = "eager"


class Stub(Engine):
    """Runs the eager blocks, or fails as ``does`` says."""

    name = "stub"
    filed = False
    calls: ClassVar[list[tuple[int, int]]] = []

    def __init__(self, does: str) -> None:
        self.does = does
        self.flags = {"FLAGS_prim_enable_dynamic": True}

    @property
    def label(self) -> str:
        return "The stub"

    def require(self) -> None:
        if self.does == "missing":
            raise CompileError("the stub is not installed; install it")

    def build(self, segment: Any, files: Any) -> Built:
        if self.does == "raises":
            raise RuntimeError("unsupported op\n  pd_op.magic")

        def run(tensors: Any) -> Any:
            if self.does == "late":
                raise RuntimeError("the compiler was aborted")
            self.calls.append(segment.span)
            factor = 1.01 if self.does == "wrong" else 1.0
            return [tensor * factor for tensor in segment(tensors)]

        return Built(run, lambda: 3 if self.does == "groups" else None)


class Stubbed(Compiler):
    """Attaches a `Stub`."""

    def engine(self, part: str, dtype: str, width: int) -> tuple[Engine, str]:
        return Stub(self.config.does), ""


SPEC = AcceleratorSpec(
    name="stub",
    kind=Kind.COMPILE,
    summary="a compiler that compiles nothing",
    target="stub_engine:Stubbed",
    config=StubConfig,
    claims=frozenset({"graph"}),
    requires=frozenset({"blocks"}),
    fidelity=Fidelity.NUMERIC,
)


def with_stub() -> Registry:
    """The registry of this process and the stub in it."""
    plugins = Registry()
    plugins.accelerators.update(registry().accelerators)
    plugins.accelerators["stub"] = SPEC
    plugins.pipelines.update(registry().pipelines)
    return plugins
