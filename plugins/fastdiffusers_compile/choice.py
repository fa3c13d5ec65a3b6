"""Which engine a compiler will use, why, and what cannot be had. No Paddle."""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Callable
from typing import Any

from fastdiffusers.accelerator import Factor, Fidelity, Prediction, Setting
from fastdiffusers.compilation.loop import AUTO
from fastdiffusers.compilation.whole import TRANSFORMER, VAE, chosen_parts, compilable_of
from fastdiffusers.errors import PlanError
from fastdiffusers.models.info import ModelInfo
from fastdiffusers_compile.build_info import INSTALL, PaddleBuild, paddle_build
from fastdiffusers_compile.options import BFLOAT16, CINN, INFERENCE, INT8, ONNX, STATIC, CompileConfig

WORDS = {
    CINN: "CINN",
    INFERENCE: "Paddle Inference",
    STATIC: "Paddle's static graph",
    ONNX: "ONNX Runtime",
}

GAINS = {INFERENCE: (VAE,), ONNX: (VAE,)}  # whole networks that parts=auto compiles with an engine
ONNX_NEEDS = ("onnxruntime", "paddle2onnx", "onnx", "ml_dtypes")  # the extra onnx
PUBLISHED = {"flux.1-dev": 1.318, "flux.1-schnell": 1.308}  # the lower of two figures each


def choose(asked: str, build: PaddleBuild | None, gpu: bool) -> tuple[str, str]:
    """(engine, why that one) for what was asked, this build of Paddle, and whether it computes on a GPU."""
    if asked != AUTO:
        return asked, "engine as asked"
    if build is not None and build.cinn and gpu:
        return CINN, "chosen because this Paddle has CINN and computes on a GPU"
    what = "no Paddle is installed" if build is None else f"this is {build}"
    if gpu:
        return STATIC, f"chosen because CINN cannot run: {what}"
    return (
        INFERENCE,
        f"chosen because CINN cannot run on a CPU ({what}), for which Paddle has this engine",
    )


def missing_for_onnx() -> str:
    """What ONNX Runtime needs and is not installed, with the way to get it; nothing where all is there."""
    lacking = [name for name in ONNX_NEEDS if importlib.util.find_spec(name) is None]
    if not lacking:
        return ""
    return f"onnxruntime needs {', '.join(lacking)}: pip install 'fastdiffusers[onnx]' (Python 3.10 to 3.12)"


def refuse(name: str, engine: str, config: CompileConfig, build: PaddleBuild | None) -> None:
    """`PlanError` for what this engine cannot do."""
    dtype = getattr(config, "dtype", AUTO)
    if engine == CINN and build is not None and not (build.cinn and build.cuda):
        raise PlanError(f"engine=cinn needs a Paddle with CINN and a GPU, this is {build}: {INSTALL}")
    if engine == ONNX and (lacking := missing_for_onnx()):
        raise PlanError(lacking)
    if engine == STATIC and dtype == BFLOAT16 and not (build is not None and build.cuda):
        raise PlanError(
            "dtype=bfloat16: Paddle has no bfloat16 kernels for a static graph on a CPU; use engine=inference"
        )
    if engine == INFERENCE and dtype == BFLOAT16 and config.dynamic:
        raise PlanError("dtype=bfloat16 with dynamic=true fails in oneDNN; leave one of them out")
    if engine == INFERENCE and dtype == BFLOAT16 and getattr(config, "onednn", AUTO) == "off":
        raise PlanError("dtype=bfloat16 is oneDNN's on a CPU; leave onednn=off out")


def _factor(engine: str, model: str) -> Factor | None:
    """What the engine buys, where that was published; no factor of a CPU's has been measured well enough to tell."""
    published = PUBLISHED.get(model) if engine == CINN else None
    return None if published is None else Factor(published, "published by PaddleMIX for an A800, not executed here")


def predictor(name: str, fixed: str | None = None) -> Callable[[Any, ModelInfo, Setting], Prediction]:
    """What a plan says of a compiler; ``fixed`` is its engine where it has but one."""

    def predict(config: Any, info: ModelInfo, setting: Setting) -> Prediction:
        build = paddle_build()
        # a build for GPUs may still run on a CPU; only the attach can tell
        engine, why = choose(fixed or config.engine, build, build is not None and build.cuda)
        refuse(name, engine, config, build)
        dtype = getattr(config, "dtype", AUTO)
        reduced = dtype in (BFLOAT16, INT8)
        compilable = compilable_of(info.family)
        parts = chosen_parts(config, compilable, GAINS.get(engine, ()))
        what = [f"the blocks{f' in {dtype}' if reduced else ''}"] if TRANSFORMER in parts else []
        what += [network.name for part in parts for network in compilable.get(part, ())]
        effect = f"{WORDS[engine]} runs {' and '.join(what)}"
        prediction = Prediction(True, why, effect, factor=_factor(engine, info.name))
        return dataclasses.replace(prediction, fidelity=Fidelity.LOSSY) if reduced else prediction

    return predict
