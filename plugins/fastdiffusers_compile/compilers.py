"""The accelerators of this plugin: each chooses an engine; `Compiler` does the rest."""

from __future__ import annotations

from typing import Any

from fastdiffusers.compilation.compiler import Compiler
from fastdiffusers.compilation.engine import Engine
from fastdiffusers.compilation.loop import AUTO
from fastdiffusers.compilation.whole import TRANSFORMER, VAE
from fastdiffusers.errors import CompileError
from fastdiffusers_compile.build_info import paddle_build
from fastdiffusers_compile.choice import choose, refuse
from fastdiffusers_compile.options import BFLOAT16, CINN, FLOAT32, INFERENCE, ONNX, STATIC


class _Chosen(Compiler):
    fixed: str | None = None

    def engine(self, part: str, dtype: str, width: int) -> tuple[Engine, str]:
        from fastdiffusers.models.place import on_cpu
        from fastdiffusers_compile.cinn import CinnEngine
        from fastdiffusers_compile.inference import ONEDNN_FROM, InferenceEngine
        from fastdiffusers_compile.static import StaticEngine

        build = paddle_build()
        name, why = choose(self.fixed or self.config.engine, build, not on_cpu())
        if choose(self.fixed or self.config.engine, build, build is not None and build.cuda) == (name, why):
            why = ""  # the plan has said it
        refuse(name, name, self.config, build)
        # a picture is what a reduced precision would be seen in, and convolutions are what oneDNN is best at
        asked = getattr(self.config, "dtype", AUTO) if part == TRANSFORMER else AUTO
        width = ONEDNN_FROM if part == VAE else width
        wanted = dtype if asked == AUTO else asked
        if name == INFERENCE:
            if wanted not in (FLOAT32, BFLOAT16) or dtype != FLOAT32:
                raise CompileError(f"engine=inference takes a float32 model, this one computes in {dtype}")
            return InferenceEngine(wanted, self.config.onednn, width), why
        if name == ONNX:
            if dtype != FLOAT32:
                raise CompileError(f"onnxruntime takes a float32 model, this one computes in {dtype}")
            from fastdiffusers_compile.onnx_runtime import OnnxRuntimeEngine

            return OnnxRuntimeEngine(wanted), why
        if wanted != dtype:
            raise CompileError(
                f"engine={name} computes in the model's dtype, {dtype}, not in {wanted}; load it in that"
            )
        kinds: dict[str, Any] = {CINN: CinnEngine, STATIC: StaticEngine}
        return kinds[name](dtype), why


class Cinn(_Chosen):
    """CINN where it can run, else the best engine here."""


class Inference(_Chosen):
    """Paddle Inference."""

    fixed = INFERENCE


class Static(_Chosen):
    """Paddle's static graph."""

    fixed = STATIC


class OnnxRuntime(_Chosen):
    """ONNX Runtime."""

    fixed = ONNX
