"""ONNX Runtime: the same numbers, 8 bits at a known loss, and what is said where it cannot go on."""

import importlib.util
import subprocess
import sys

import numpy as np
import pytest

from fastdiffusers.compilation.store import Store
from fastdiffusers.errors import CompileError, PlanError
from fastdiffusers.models.info import describe
from fastdiffusers.plan import make_plan
from fastdiffusers.plugins import registry
from fastdiffusers.request import parse
from fastdiffusers.session import accelerate
from fastdiffusers_compile import choice
from fastdiffusers_compile.onnx_runtime import OnnxRuntimeEngine, _reason

needs_runtime = pytest.mark.skipif(choice.missing_for_onnx() != "", reason="the extra onnx is not installed")


def off(found, wanted):
    return float(np.abs(found - wanted).max() / np.abs(wanted).max())


def test_what_is_missing_is_refused_with_the_way_to_get_it(monkeypatch):
    real = importlib.util.find_spec
    absent = lambda name: None if name in choice.ONNX_NEEDS else real(name)  # noqa: E731
    monkeypatch.setattr(importlib.util, "find_spec", absent)
    info = describe("flux-emoji")
    plan = make_plan(parse("onnxruntime"), registry(), info, info.default_setting)
    with pytest.raises(PlanError, match=r"needs onnxruntime, .*, ml_dtypes: pip install 'fastdiffusers\[onnx\]'"):
        plan.check()
    with pytest.raises(CompileError, match="needs onnxruntime"):
        OnnxRuntimeEngine("float32").require()


def test_int8_is_lossy_and_says_so(monkeypatch):
    monkeypatch.setattr(choice, "missing_for_onnx", lambda: "")
    info = describe("flux-emoji")
    for words, fidelity in (("onnxruntime", "numeric"), ("onnxruntime:dtype=int8", "lossy")):
        (item,) = make_plan(parse(words), registry(), info, info.default_setting).items
        assert item.to_dict()["fidelity"] == fidelity
    assert item.prediction.effect == "ONNX Runtime runs the blocks in int8 and the VAE's decoder"


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (
            "print('[ERROR][Paddle2ONNX] no magic'); import os; os.abort()",
            r"cannot be converted to ONNX: \[ERROR\].*magic",
        ),
        ("raise SystemExit(3)", "it ended with code 3"),
        ("pass", "it ended with code 0"),
    ],
)
def test_a_converter_that_ends_its_process_is_an_error_in_one_line(code, message, tmp_path, monkeypatch):
    plain = subprocess.run
    monkeypatch.setattr(subprocess, "run", lambda command, **more: plain([sys.executable, "-c", code], **more))
    with pytest.raises(CompileError, match=message) as caught:
        OnnxRuntimeEngine("float32").convert(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("said", "line"),
    [
        ("loading\n[ERROR] unsupported operators\nRuntimeError: aborted\n", "[ERROR] unsupported operators"),
        (
            "WARNING: such builds do not support multi-threads, an Error\nTraceback (most recent call last):\n"
            "  raise ValueError\nModuleNotFoundError: No module named 'ml_dtypes'\n",
            "ModuleNotFoundError: No module named 'ml_dtypes'",
        ),
    ],
)
def test_the_telling_line_is_found(said, line):
    assert _reason(subprocess.CompletedProcess([], 1, said, "")) == line


@needs_runtime
@pytest.mark.parametrize("words", ["onnxruntime", "onnxruntime:dynamic=true"])
def test_latents_are_those_of_the_eager_blocks_and_come_from_disk_later(words, pipe, draw):
    Store().clear()
    calls = [{}, {"height": 64, "num_images_per_prompt": 2}]
    plain = [draw(**changes) for changes in calls]
    for made in (True, False):
        with accelerate(pipe, words, steps=10) as session:
            found = [draw(**changes) for changes in calls]
            (record,) = session.report()
        assert record.engaged and bool(record.stats["compiled"]) is made and record.stats["greatest_error"] < 1e-4
        assert all(off(a, b) < 1e-4 for a, b in zip(found, plain, strict=True))
    assert draw().tobytes() == plain[0].tobytes()


@needs_runtime
def test_int8_changes_latents_a_little(pipe, draw):
    plain = draw()
    with accelerate(pipe, "onnxruntime:dtype=int8", steps=10) as session:
        found = draw()
        (record,) = session.report()
    assert record.engaged and record.fidelity == "lossy" and 1e-4 < off(found, plain) < 0.3
