"""Compilers: blocks, inside any cache, and whole networks run by CINN, Paddle Inference, ONNX Runtime …

This module is data only; Paddle is imported when one is attached.
"""

from __future__ import annotations

from fastdiffusers.accelerator import AcceleratorSpec, Fidelity, Kind, Reference
from fastdiffusers.hookspecs import hookimpl
from fastdiffusers_compile.choice import predictor
from fastdiffusers_compile.options import INFERENCE, ONNX, STATIC, CinnConfig, InferenceConfig, OnnxConfig, StaticConfig

PADDLE = Reference(
    title="PaddlePaddle: parallel distributed deep learning",
    authors="PaddlePaddle contributors",
    year=2018,
    url="https://github.com/PaddlePaddle/Paddle",
    note="CINN, the static graph and Paddle Inference are parts of it",
)


RUNTIME = Reference(
    title="ONNX Runtime",
    authors="ONNX Runtime developers",
    year=2018,
    url="https://github.com/microsoft/onnxruntime",
    note="Paddle's programs come to it through Paddle2ONNX, https://github.com/PaddlePaddle/Paddle2ONNX",
)


def _compiler(name: str, kind: str, summary: str, config: type, fixed: str | None, *more: Reference) -> AcceleratorSpec:
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
        references=(PADDLE, *more),
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
        _compiler(
            "onnxruntime", "OnnxRuntime", "run the blocks with ONNX Runtime, on a CPU", OnnxConfig, ONNX, RUNTIME
        ),
        _compiler("to-static", "Static", "run the blocks as a static graph", StaticConfig, STATIC),
    ]
