"""ONNX Runtime on a CPU: Paddle's program converted to ONNX, in float32 or with 8-bit weights and activations."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import paddle

from fastdiffusers.compilation.engine import Built, Engine, Forms
from fastdiffusers.compilation.segment import PROGRAM, Segment
from fastdiffusers.environment import current
from fastdiffusers.errors import CompileError
from fastdiffusers.models.place import on_cpu
from fastdiffusers_compile.choice import GAINS, missing_for_onnx
from fastdiffusers_compile.onnx_export import ONNX
from fastdiffusers_compile.options import FLOAT32
from fastdiffusers_compile.options import ONNX as NAME

PATIENCE = 1800  # seconds for a conversion
RAISED = re.compile(r"[\w.]*(Error|Exception|Exit)\b")  # the last line of a traceback


class OnnxRuntimeEngine(Engine):
    """``dtype`` is ``float32``, or ``int8`` for products whose activations are quantised as they come."""

    name = "onnxruntime"
    forms = Forms.PRIMITIVE
    gains = GAINS[NAME]

    def __init__(self, dtype: str) -> None:
        self.dtype = dtype
        self.tolerance = 1e-4 if dtype == FLOAT32 else 0.2

    @property
    def label(self) -> str:
        return f"ONNX Runtime in {self.dtype}"

    def require(self) -> None:
        if not on_cpu():
            raise CompileError("onnxruntime is for CPUs here, and Paddle computes on a GPU; use cinn or to-static")
        if lacking := missing_for_onnx():
            raise CompileError(lacking)

    def identity(self) -> dict[str, Any]:
        versions = {name: version(name) for name in ("onnxruntime", "paddle2onnx")}
        return {**super().identity(), "onnx": self.dtype, **versions}

    def convert(self, folder: Path) -> None:
        """In a process of its own: what the converter does not know makes it abort the process that it runs in."""
        command = [sys.executable, "-m", "fastdiffusers_compile.onnx_export", str(folder), self.dtype]
        environ = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        try:
            done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=PATIENCE)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise CompileError(f"the conversion to ONNX did not come to an end: {error}") from error
        if done.returncode != 0 or not (folder / ONNX).is_file():
            raise CompileError(f"Paddle's program cannot be converted to ONNX: {_reason(done)}")
        for file in folder.iterdir():
            if file.name != ONNX:
                file.unlink()

    def build(self, segment: Segment, files: Path | None) -> Built:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = current().threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            session = onnxruntime.InferenceSession(
                str((files or Path()) / ONNX), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # its own classes, which have no common one
            raise RuntimeError(f"ONNX Runtime cannot read {PROGRAM}: {error}") from error
        places = {given.name: int(given.name[1:]) for given in session.get_inputs()}

        def run(tensors: Sequence[Any]) -> Sequence[Any]:
            try:
                found = session.run(None, {name: tensors[place].numpy() for name, place in places.items()})
            except Exception as error:
                raise RuntimeError(f"ONNX Runtime: {error}") from error
            return [paddle.to_tensor(part) for part in found]

        return Built(run)


def _reason(done: subprocess.CompletedProcess[str]) -> str:
    """What the converter said, of the many lines around it: its own error, else how Python's traceback ends."""
    lines = [line.strip() for line in (done.stdout + "\n" + done.stderr).splitlines() if line.strip()]
    lines = [line for line in lines if "WARNING" not in line.upper()]
    telling = [line for line in lines if "[ERROR]" in line] or [line for line in lines if RAISED.match(line)][-1:]
    return " ".join((telling or lines or [f"it ended with code {done.returncode}"])[0].split())[:300]
