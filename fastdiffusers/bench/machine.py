"""What machine a figure was measured on: without that a latency means nothing."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

from fastdiffusers._version import __version__


def describe_machine() -> dict[str, Any]:
    """Processor, cores, threads, memory, device, system and versions, as JSON. Nothing that names a host or a user.

    ``load`` is the system's load average over one minute before the bench: far above 0 means that others were working.
    """
    import numpy
    import paddle

    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "usable_cores": _usable_cores(),
        "threads": _threads(),
        "memory_mb": _memory_mb(),
        "load": _load(),
        "device": _device(paddle),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "paddle": str(paddle.__version__),
        "numpy": str(numpy.__version__),
        "fastdiffusers": __version__,
        "mkl_debug_cpu_type": os.environ.get("MKL_DEBUG_CPU_TYPE"),
    }


def on_gpu() -> bool:
    """Whether Paddle computes on a CUDA device now."""
    import paddle

    return bool(paddle.is_compiled_with_cuda()) and str(paddle.device.get_device()).startswith("gpu")


def synchronize() -> None:
    """Wait until the device has done what was asked of it; a clock read before that measures the queue."""
    if on_gpu():
        import paddle

        paddle.device.synchronize()


def _device(paddle: Any) -> str:
    if on_gpu():
        return str(paddle.device.cuda.get_device_name())
    return str(paddle.device.get_device())


def _cpu_model() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name" and value.strip():
                return value.strip()
    except OSError:
        pass  # no procfs (macOS, Windows): the platform module knows less, but something
    return platform.processor() or platform.machine()


def _usable_cores() -> int | None:
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity is not None else os.cpu_count()


def _threads() -> int | None:
    value = os.environ.get("OMP_NUM_THREADS", "")
    return int(value) if value.isdigit() else None


def _memory_mb() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20
    except (AttributeError, ValueError, OSError):
        return None


def _load() -> float | None:
    try:
        return round(os.getloadavg()[0], 2)
    except (AttributeError, OSError):
        return None
