"""Compilers: the transformer's blocks run by CINN, Paddle Inference or the static graph, inside any cache.

This module is data only; Paddle is imported when one is attached.
"""

from __future__ import annotations

from fastdiffusers.accelerator import AcceleratorSpec, Fidelity, Kind, Reference
from fastdiffusers.hookspecs import hookimpl
from fastdiffusers_compile.choice import predictor
from fastdiffusers_compile.options import INFERENCE, STATIC, CinnConfig, InferenceConfig, StaticConfig

PADDLE = Reference(
    title="PaddlePaddle: parallel distributed deep learning",
    authors="PaddlePaddle contributors",
    year=2018,
    url="https://github.com/PaddlePaddle/Paddle",
    note="CINN, the static graph and Paddle Inference are parts of it",
)


def _compiler(name: str, kind: str, summary: str, config: type, fixed: str | None) -> AcceleratorSpec:
    return AcceleratorSpec(
        name=name,
        kind=Kind.COMPILE,
        summary=summary,
        target=f"fastdiffusers_compile.compilers:{kind}",
        config=config,
        claims=frozenset({"graph"}),
        requires=frozenset({"blocks"}),
        tags=frozenset({"compiled"}),
        fidelity=Fidelity.NUMERIC,
        references=(PADDLE,),
        predict=predictor(name, fixed),
    )


@hookimpl
def register_accelerators() -> list[AcceleratorSpec]:
    """One for each engine, and ``cinn``, which takes the best one here."""
    return [
        _compiler(
            "cinn",
            "Cinn",
            "compile the blocks: CINN on a GPU that has it, Paddle's best engine elsewhere",
            CinnConfig,
            None,
        ),
        _compiler(
            "inference", "Inference", "run the blocks with Paddle Inference, on a CPU", InferenceConfig, INFERENCE
        ),
        _compiler("to-static", "Static", "run the blocks as a static graph", StaticConfig, STATIC),
    ]
