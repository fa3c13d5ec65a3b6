"""The options of the compilers, as the command line, YAML and Python know them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from fastdiffusers.compilation.loop import AUTO, SCOPES
from fastdiffusers.compilation.whole import PARTS

CINN, INFERENCE, STATIC, ONNX = "cinn", "inference", "static", "onnxruntime"
ENGINES = (AUTO, CINN, INFERENCE, STATIC)
FLOAT32, BFLOAT16, INT8 = "float32", "bfloat16", "int8"


def option(default: Any, help: str, **limits: Any) -> Any:
    """A field of a config dataclass; ``limits``: ``min``, ``max``, ``choices``."""
    return field(default=default, metadata={"help": help, **limits})


@dataclass(frozen=True)
class CompileConfig:
    """Options that every compiler has."""

    parts: tuple[str, ...] = option(
        (AUTO,),
        "what is compiled: auto, the transformer's blocks and what the engine gains from; or transformer, vae, text",
        choices=PARTS,
    )
    dynamic: bool = option(False, "one program for all sizes and batches; otherwise one for each, kept on disk")
    scope: str = option(
        AUTO, "what is one program: auto, as many blocks as the cache around lets be; every block; all", choices=SCOPES
    )
    fallback: str = option(
        "none",
        "what to do when an engine fails: none, stop; eager, go on without it",
        choices=("none", "eager"),
    )


@dataclass(frozen=True)
class StaticConfig(CompileConfig):
    """Options of ``to-static``."""


@dataclass(frozen=True)
class InferenceConfig(CompileConfig):
    """Options of ``inference``."""

    dtype: str = option(AUTO, "what the blocks compute in; bfloat16 is lossy", choices=(AUTO, FLOAT32, BFLOAT16))
    onednn: str = option(
        AUTO,
        "kernels of oneDNN instead of Paddle's own: auto, from a hidden size of 512 and for the decoder",
        choices=(AUTO, "on", "off"),
    )


@dataclass(frozen=True)
class OnnxConfig(CompileConfig):
    """Options of ``onnxruntime``."""

    dtype: str = option(
        AUTO, "what the blocks compute in; int8, quantised as it runs, is lossy", choices=(AUTO, FLOAT32, INT8)
    )


@dataclass(frozen=True)
class CinnConfig(InferenceConfig):
    """Options of ``cinn``."""

    engine: str = option(AUTO, "auto: CINN where this Paddle and GPU have it, else the best here", choices=ENGINES)
