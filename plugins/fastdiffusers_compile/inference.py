"""Paddle Inference on a CPU: the program is optimised as a whole, with oneDNN's kernels or Paddle's own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fastdiffusers.compilation.engine import Built, Engine, Forms
from fastdiffusers.compilation.segment import PROGRAM, Segment
from fastdiffusers.environment import current
from fastdiffusers.errors import CompileError
from fastdiffusers.models.place import on_cpu
from fastdiffusers_compile.choice import GAINS
from fastdiffusers_compile.options import BFLOAT16, INFERENCE

# one layer is enough to have them: oneDNN pays from products of about this size on
ONEDNN_FROM = 512


class InferenceEngine(Engine):
    """``onednn`` is ``auto``, ``on`` or ``off``."""

    name = "inference"
    gains = GAINS[INFERENCE]

    def __init__(self, dtype: str, onednn: str = "auto", hidden: int = ONEDNN_FROM) -> None:
        self.dtype = dtype
        self.onednn = onednn == "on" or dtype == BFLOAT16 or (onednn == "auto" and hidden >= ONEDNN_FROM)
        # without oneDNN it runs Paddle's own kernels, which want what eager wants
        self.forms = Forms.FUSED if self.onednn else Forms.EAGER
        self.tolerance = 0.1 if dtype == BFLOAT16 else 1e-4

    @property
    def label(self) -> str:
        return f"Paddle Inference {'with' if self.onednn else 'without'} oneDNN in {self.dtype}"

    def require(self) -> None:
        if not on_cpu():
            raise CompileError("engine=inference is for CPUs, and Paddle computes on a GPU; use engine=cinn or static")

    def build(self, segment: Segment, files: Path | None) -> Built:
        from paddle.base import core
        from paddle.inference import Config, create_predictor

        place = str((files or Path()) / PROGRAM)
        config = Config(f"{place}.json", f"{place}.pdiparams")
        config.disable_gpu()
        config.disable_glog_info()
        config.enable_new_ir(True)
        config.enable_new_executor(True)
        config.set_cpu_math_library_num_threads(current().threads)
        if self.onednn:
            config.enable_onednn()
        else:
            config.disable_onednn()
        if self.dtype == BFLOAT16:
            config.enable_onednn_bfloat16()
        # with oneDNN it writes over tensors that are still read: a norm of a projection was off by 14 (Paddle 3.3.1)
        config.delete_pass("inplace_pass")
        found = create_predictor(config)
        order = [int(name[1:]) for name in found.get_input_names()]

        def run(tensors: Sequence[Any]) -> Sequence[Any]:
            try:
                # what it gives are buffers of its own, which its next run writes over
                return [answer.clone() for answer in found.run([tensors[index].contiguous() for index in order])]
            finally:  # each run leaves the whole process with one thread
                core.set_num_threads(current().threads)

        return Built(run)
