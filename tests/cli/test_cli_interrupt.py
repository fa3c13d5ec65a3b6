"""Ctrl-C in the middle: one line, exit code 130, nothing half-written."""

from __future__ import annotations

import os
import signal
import subprocess
import time

import pytest
from PIL import Image
from programs import environment

from fastdiffusers.png import read_record


@pytest.mark.parametrize("more", [[], ["--json"]], ids=["plain", "json"])
def test_ctrl_c_while_drawing(more, tiny, tmp_path, command):
    program = subprocess.Popen(
        [*command, "infer", "--model", str(tiny), "--n", "500", "--steps", "20", *more],
        cwd=tmp_path,
        env=environment(tmp_path),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # a test run that was started in the background passes on that it ignores SIGINT
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 60
    while not (tmp_path / "fastdiff-001.png").exists() and program.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    program.send_signal(signal.SIGINT)
    stdout, stderr = program.communicate(timeout=60)
    assert program.returncode == 130, stderr
    assert stdout == ""
    (line,) = stderr.splitlines()
    assert line.startswith("interrupted: ") and "of 500 pictures written (fastdiff-001.png" in line
    written = sorted(tmp_path.glob("**/*"))
    assert written and all(path.name.startswith("fastdiff-") and path.suffix == ".png" for path in written)
    for path in written:
        Image.open(path).load()
        assert read_record(path)["seed"] == int(path.stem[-3:]) - 1


def test_ctrl_c_before_a_picture_is_done(fastdiff, tiny, tmp_path, monkeypatch):
    import fastdiffusers

    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(fastdiffusers, "load", stopped)
    done = fastdiff("infer", "--model", tiny)
    assert (done.exit_code, done.stderr) == (130, "interrupted: no picture written\n")
    assert not list(tmp_path.iterdir())


def test_ctrl_c_while_paddle_is_imported(tiny, tmp_path, program):
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "paddle.py").write_text(
        "import os, signal, time\n"
        "try:\n    os.kill(os.getpid(), signal.SIGINT); time.sleep(0.2)\n"
        "except KeyboardInterrupt:\n    raise ImportError('no libmkl')\n"
    )
    # a test run that was started in the background passes on that it ignores SIGINT
    (tmp_path / "modules" / "sitecustomize.py").write_text(
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    )
    paths = f"{tmp_path / 'modules'}{os.pathsep}{environment(tmp_path)['PYTHONPATH']}"
    for words in (["infer"], ["bench", "--accel", "none"]):
        done = program(*words, "--model", tiny, PYTHONPATH=paths)
        assert done.returncode == 130 and done.stdout == "", done.stderr
        (line,) = done.stderr.splitlines()
        assert line.startswith("interrupted: ")
    assert not list(tmp_path.glob("*.png"))


def test_ctrl_c_in_any_other_command(fastdiff, monkeypatch):
    import fastdiffusers.plugins

    def stopped() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(fastdiffusers.plugins, "registry", stopped)
    done = fastdiff("accel", "list")
    assert (done.exit_code, done.stderr) == (130, "interrupted: `fastdiff accel` was stopped\n")
