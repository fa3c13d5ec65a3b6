"""How Paddle is started: threads, MKL's path on AMD, freed memory kept, and without two notices for everybody.

Paddle reads all of this once, when it is imported. Nothing here overrides what the user has set.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import platform
import signal
import sys
import threading
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastdiffusers.accelerator import one_line
from fastdiffusers.counting import counted
from fastdiffusers.errors import InputError, MissingDependency
from fastdiffusers.heap import keep_freed_memory

MKL_SWITCH = "FASTDIFFUSERS_MKL"
_CCACHE = "No ccache found"
_OMP_NOTICES = ("WARNING: OMP_NUM_THREADS set to ", "PLEASE USE OMP_NUM_THREADS WISELY.")


@dataclass(frozen=True)
class Environment:
    """What Paddle computes with on the CPU: ``threads``, and whether ``MKL_DEBUG_CPU_TYPE`` is 5."""

    threads: int
    mkl: bool

    def __str__(self) -> str:
        text = counted(self.threads, "thread")
        return f"{text}, MKL_DEBUG_CPU_TYPE=5 ({MKL_SWITCH}=0 turns it off)" if self.mkl else text


def prepare(threads: int | None = None, mkl: bool | None = None) -> Environment:
    """Set what Paddle should start with, import it quietly, and say what holds. Call it before anything imports Paddle.

    Args:
        threads: CPU threads; by default ``OMP_NUM_THREADS`` if the user set it, else one per physical core that this
            process may use. A number given here wins over the variable.
        mkl: whether MKL takes its fast path on an AMD processor (2.1 to 2.7 times the speed, results within 2e-6);
            by default yes on AMD unless ``FASTDIFFUSERS_MKL=0`` or ``MKL_DEBUG_CPU_TYPE`` is set.

    When Paddle is imported already, nothing can be changed any more: other ``threads`` are an `InputError` then, and
    without arguments nothing happens. `MissingDependency` when Paddle is not installed.
    """
    if threads is not None and (isinstance(threads, bool) or not isinstance(threads, int) or threads < 1):
        raise InputError(f"threads {threads!r} is not valid; it must be an integer of at least 1")
    if "paddle" not in sys.modules:
        os.environ.update(wanted(os.environ, threads, mkl))
        if mkl is False:
            os.environ.pop("MKL_DEBUG_CPU_TYPE", None)
        keep_freed_memory()
        _import_paddle()
    present = current()
    if threads is not None and threads != present.threads:
        raise InputError(
            f"Paddle was imported with {counted(present.threads, 'thread')} and cannot change to {threads}; "
            "call fastdiffusers.environment.prepare before anything imports it"
        )
    return present


def current(environ: Mapping[str, str] = os.environ) -> Environment:
    """What the variables say now; Paddle itself makes ``OMP_NUM_THREADS`` 1 where nobody set it."""
    threads = environ.get("OMP_NUM_THREADS", "1")
    return Environment(int(threads) if threads.isdigit() else 1, environ.get("MKL_DEBUG_CPU_TYPE") == "5")


def wanted(environ: Mapping[str, str], threads: int | None = None, mkl: bool | None = None) -> dict[str, str]:
    """The variables to set, given those that are set already."""
    changes = {}
    count = str(threads or environ.get("OMP_NUM_THREADS") or physical_cores())
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        if threads is not None or not environ.get(name):
            changes[name] = count
    fast = is_amd() and environ.get(MKL_SWITCH) != "0" if mkl is None else mkl
    if fast and (mkl or "MKL_DEBUG_CPU_TYPE" not in environ):
        changes["MKL_DEBUG_CPU_TYPE"] = "5"
    if "GLOG_minloglevel" not in environ:
        changes["GLOG_minloglevel"] = "2"
    return changes


def physical_cores(sysfs: Path = Path("/sys")) -> int:
    """Physical cores that this process may use: its affinity and its cgroup's quota count, hyper-threads do not."""
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))
    cores = set()
    for cpu in allowed:
        siblings = sysfs / f"devices/system/cpu/cpu{cpu}/topology/thread_siblings_list"
        try:
            cores.add(siblings.read_text().strip())
        except OSError:
            cores.add(str(cpu))
    return max(1, min(len(cores), _quota(sysfs) or len(cores)))


def is_amd() -> bool:
    """Whether the processor is AMD's; MKL then needs to be told that it has AVX2."""
    try:
        return "AuthenticAMD" in Path("/proc/cpuinfo").read_text()[:4096]
    except OSError:
        return "AuthenticAMD" in platform.processor()


def _quota(sysfs: Path) -> int | None:
    """Whole cores that the cgroup (version 2) grants, or None without a limit."""
    try:
        quota, period = (sysfs / "fs/cgroup/cpu.max").read_text().split()[:2]
        return None if quota == "max" else max(1, int(quota) // int(period))
    except (OSError, ValueError):
        return None


def _import_paddle() -> None:
    with _interrupt_held(), warnings.catch_warnings(), _without_omp_notice():
        warnings.filterwarnings("ignore", message=_CCACHE, category=UserWarning)
        try:
            importlib.import_module("paddle")
        except ImportError as error:
            raise MissingDependency(
                f"Paddle cannot be imported ({one_line(error)}); on a CPU: pip install 'fastdiffusers[cpu]', "
                "for a GPU see the README"
            ) from error


@contextlib.contextmanager
def _interrupt_held() -> Iterator[None]:
    """Put Ctrl-C off to the end: in the midst of its import Paddle would turn it into an ImportError of its own.

    Only Python's main thread receives signals, and a handler that is not Python's, or that ignores Ctrl-C, is kept.
    """
    former = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(former):
        yield
        return
    received: list[int] = []
    signal.signal(signal.SIGINT, lambda number, frame: received.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, former)
        if received:
            former(signal.SIGINT, None)


class _Filter:
    """A text stream that drops the notices in `_OMP_NOTICES` and passes everything else on as it comes."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._dropped = False

    def write(self, text: str) -> int:
        if text.startswith(_OMP_NOTICES):
            self._dropped = True
        elif not (self._dropped and text == "\n"):  # print() writes the line break on its own
            self._dropped = False
            self._stream.write(text)
        else:
            self._dropped = False
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def _without_omp_notice() -> Iterator[None]:
    with contextlib.redirect_stderr(_Filter(sys.stderr)):
        yield
