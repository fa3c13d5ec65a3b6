"""How Paddle is started: quietly, with as many threads as cores, and as the user has set it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fastdiffusers import environment
from fastdiffusers.environment import Environment, current, physical_cores, wanted
from fastdiffusers.errors import InputError

ROOT = Path(__file__).resolve().parents[1]
VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "MKL_DEBUG_CPU_TYPE", "GLOG_minloglevel", "FASTDIFFUSERS_MKL")


def run(code: str, **variables: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**clean, "PYTHONPATH": str(ROOT), **variables},
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.parametrize("variables", [{}, {"OMP_NUM_THREADS": "2"}], ids=["unset", "two-threads"])
def test_paddle_starts_quietly(variables):
    done = run("from fastdiffusers.environment import prepare; prepare(); import paddle", **variables)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_other_words_on_stderr_are_kept(capsys):
    print("before", file=sys.stderr)
    with environment._without_omp_notice():
        print("WARNING: OMP_NUM_THREADS set to 4, not 1. The computation", file=sys.stderr)
        print("PLEASE USE OMP_NUM_THREADS WISELY.", file=sys.stderr)
        print("WARNING: the roof is on fire", file=sys.stderr)
    assert capsys.readouterr().err == "before\nWARNING: the roof is on fire\n"


def test_threads_are_physical_cores_unless_set(monkeypatch):
    monkeypatch.setattr(environment, "physical_cores", lambda: 6)
    assert wanted({})["OMP_NUM_THREADS"] == wanted({})["MKL_NUM_THREADS"] == "6"
    assert "OMP_NUM_THREADS" not in wanted({"OMP_NUM_THREADS": "3"})
    assert wanted({"OMP_NUM_THREADS": "3"})["MKL_NUM_THREADS"] == "3"
    assert wanted({"OMP_NUM_THREADS": "3"}, threads=2)["OMP_NUM_THREADS"] == "2"


@pytest.mark.parametrize(
    ("amd", "variables", "mkl", "switched"),
    [
        (True, {}, None, True),
        (False, {}, None, False),
        (True, {"FASTDIFFUSERS_MKL": "0"}, None, False),
        (True, {"MKL_DEBUG_CPU_TYPE": "4"}, None, False),
        (True, {}, False, False),
        (False, {}, True, True),
    ],
)
def test_mkl_switch(amd, variables, mkl, switched, monkeypatch):
    monkeypatch.setattr(environment, "is_amd", lambda: amd)
    assert (wanted(variables, mkl=mkl).get("MKL_DEBUG_CPU_TYPE") == "5") is switched


def test_glog_level_of_the_user_is_kept():
    assert wanted({})["GLOG_minloglevel"] == "2"
    assert "GLOG_minloglevel" not in wanted({"GLOG_minloglevel": "0"})


def test_hyper_threads_and_quotas_do_not_count(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3}, raising=False)
    for cpu, siblings in enumerate(["0,2", "1,3", "0,2", "1,3"]):
        folder = tmp_path / f"devices/system/cpu/cpu{cpu}/topology"
        folder.mkdir(parents=True)
        (folder / "thread_siblings_list").write_text(siblings + "\n")
    assert physical_cores(tmp_path) == 2
    (tmp_path / "fs/cgroup").mkdir(parents=True)
    (tmp_path / "fs/cgroup/cpu.max").write_text("100000 100000\n")
    assert physical_cores(tmp_path) == 1
    (tmp_path / "fs/cgroup/cpu.max").write_text("max 100000\n")
    assert physical_cores(tmp_path) == 2


def test_threads_hold_in_paddle_and_cannot_change_afterwards():
    done = run(
        "from fastdiffusers.environment import prepare\n"
        "assert prepare(threads=2).threads == 2\n"
        "import os; assert os.environ['OMP_NUM_THREADS'] == '2'\n"
        "assert prepare().threads == prepare(2).threads == 2\n"
        "try: prepare(3)\n"
        "except Exception as error: print(error)\n"
    )
    assert done.stdout.startswith("Paddle was imported with 2 threads and cannot change to 3"), done.stderr


@pytest.mark.parametrize("threads", [0, -1, True, 2.5])
def test_bad_thread_numbers(threads):
    with pytest.raises(InputError, match="threads"):
        environment.prepare(threads)


def test_a_missing_paddle_is_one_line(tmp_path):
    (tmp_path / "paddle.py").write_text("raise ImportError('no libmkl')\n")
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "from fastdiffusers.environment import prepare\n"
        "from fastdiffusers.errors import MissingDependency\n"
        "try: prepare()\n"
        "except MissingDependency as error: print(error)\n"
    )
    shown = run(code).stdout
    assert "no libmkl" in shown and "fastdiffusers[cpu]" in shown and len(shown.splitlines()) == 1


@pytest.mark.parametrize("ends", ["", "raise ImportError('cut short')"], ids=["imported", "failed"])
def test_ctrl_c_while_paddle_is_imported_is_ctrl_c(ends, tmp_path):
    (tmp_path / "paddle.py").write_text(
        "import os, signal, time\n"
        "try:\n    os.kill(os.getpid(), signal.SIGINT); time.sleep(0.2)\n"
        f"except KeyboardInterrupt:\n    raise ImportError('no libmkl')\n{ends}\n"
    )
    code = (
        f"import signal, sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from fastdiffusers.environment import prepare\n"
        "try: prepare()\n"
        "except KeyboardInterrupt: print('interrupted', signal.getsignal(signal.SIGINT).__name__)\n"
    )
    assert run(code).stdout == "interrupted default_int_handler\n"


def test_an_ignored_ctrl_c_stays_ignored_and_other_threads_import_as_well(tmp_path):
    (tmp_path / "paddle.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n")
    code = (
        f"import signal, sys, threading; sys.path.insert(0, {str(tmp_path)!r})\n"
        "signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "from fastdiffusers.environment import prepare\n"
        "prepare(); del sys.modules['paddle']\n"
        "thread = threading.Thread(target=lambda: print(prepare().threads)); thread.start(); thread.join()\n"
    )
    done = run(code, OMP_NUM_THREADS="3")
    assert (done.stdout, done.stderr) == ("3\n", "")


def test_what_it_says():
    assert str(Environment(1, False)) == "1 thread"
    assert str(Environment(4, True)) == "4 threads, MKL_DEBUG_CPU_TYPE=5 (FASTDIFFUSERS_MKL=0 turns it off)"
    assert current({"OMP_NUM_THREADS": "4", "MKL_DEBUG_CPU_TYPE": "5"}) == Environment(4, True)
    assert current({}) == Environment(1, False)
