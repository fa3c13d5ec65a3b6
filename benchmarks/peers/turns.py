"""Workers that take turns: each in a process of its own, a line of JSON in, a line out. Standard library alone.

A worker reads ``{"arm": …, "steps": n}``, runs n + 1 steps in that arm, and answers ``{"wall": […], "cpu": […]}`` of
the last n, or ``{"error": …}``. The first step pays for what is compiled or read, and is told as ``first``.
"""

from __future__ import annotations

import ctypes
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

SWITCHES = {"MKL_DEBUG_CPU_TYPE": "5", "GLOG_minloglevel": "2"}


def keep_freed_memory() -> None:
    """What `fastdiffusers.heap` does, for workers that do not have it: every arm has the same switches."""
    library = ctypes.CDLL(None)
    library.mallopt(-3, 32 << 20)
    library.mallopt(-1, 512 << 20)


def serve(run: Callable[[str, int], dict[str, Any]], about: dict[str, Any]) -> None:
    """Answer turns until the input ends; ``about`` is told first."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints
    print(json.dumps(about), file=out, flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            answer = run(asked["arm"], asked["steps"])
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"}
        print(json.dumps(answer), file=out, flush=True)


def timed(step: Callable[[int], None], steps: int) -> dict[str, Any]:
    """One turn of ``step(number)``."""
    wall, cpu = [], []
    for number in range(steps + 1):
        moment, spent = time.perf_counter(), time.process_time()
        step(number)
        wall.append(time.perf_counter() - moment)
        cpu.append(time.process_time() - spent)
    return {"first": wall[0], "wall": wall[1:], "cpu": cpu[1:]}


class Worker:
    """The other end of `serve`: ``command`` started with ``threads``."""

    def __init__(self, command: Sequence[str], threads: int) -> None:
        count = {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
        self._process = subprocess.Popen(
            list(command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **SWITCHES, **count},
        )
        self.about = self._answer()

    def turn(self, arm: str, steps: int) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"arm": arm, "steps": steps}) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def close(self) -> None:
        self._process.kill()
        self._process.wait()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"the worker {Path(str(self._process.args[1])).name} ended; see above")
        return json.loads(line)


def summary(turns: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Milliseconds of an arm over all its turns."""
    found: dict[str, Any] = {"first_s": [round(turn["first"], 2) for turn in turns]}
    for clock in ("wall", "cpu"):
        every = [seconds for turn in turns for seconds in turn[clock]]
        found[f"{clock}_ms"] = round(statistics.median(every) * 1e3, 2)
        found[f"{clock}_least_ms"] = round(min(every) * 1e3, 2)
    return found | {key: value for key, value in turns[-1].items() if key not in ("first", "wall", "cpu")}


def ratio(ours: Sequence[dict[str, Any]], theirs: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Ours over theirs: the median over rounds of the ratio within a round, on both clocks, and that of the least."""
    found = {}
    for clock in ("wall", "cpu"):
        rounds = [statistics.median(a[clock]) / statistics.median(b[clock]) for a, b in zip(ours, theirs, strict=True)]
        found[clock] = round(statistics.median(rounds), 3)
        found[f"{clock}_least"] = round(min(min(a[clock]) for a in ours) / min(min(b[clock]) for b in theirs), 3)
    return found
