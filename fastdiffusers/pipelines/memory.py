"""Refuse before the machine runs out of memory, with both figures."""

from __future__ import annotations

import os
from pathlib import Path

from fastdiffusers.errors import InputError

_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
GIB = 1 << 30


def free_bytes() -> int | None:
    """Memory that a new allocation may use: of the GPU Paddle computes on, else of this machine and its cgroup.

    None where nothing says (no /proc).
    """
    import paddle

    if paddle.get_device().startswith("gpu"):
        free, _ = paddle.device.cuda.mem_get_info() if hasattr(paddle.device.cuda, "mem_get_info") else (None, None)
        return free
    available = None
    meminfo = Path("/proc/meminfo")
    if meminfo.is_file():
        for line in meminfo.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                available = int(line.split()[1]) * 1024
    limit, used = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")
    if limit.is_file() and used.is_file() and limit.read_text().strip().isdigit():
        room = int(limit.read_text()) - int(used.read_text())
        available = room if available is None else min(available, room)
    return available


def require(needed: int, what: str, advice: str) -> None:
    """`InputError` if ``needed`` bytes for ``what`` are not free; ``FASTDIFFUSERS_MEMORY=ignore`` skips it."""
    if os.environ.get("FASTDIFFUSERS_MEMORY") == "ignore":
        return
    free = free_bytes()
    if free is not None and needed > free:
        raise InputError(
            f"{what} needs about {needed / GIB:.1f} GiB and {free / GIB:.1f} GiB are free; {advice} "
            "(FASTDIFFUSERS_MEMORY=ignore tries all the same)"
        )


def weights_bytes(parameters: int, dtype: str) -> int:
    """Peak while loading: the weights in their dtype and, for one tensor at a time, its copy on the way."""
    return int(parameters * _BYTES[dtype] * 1.1)


def activation_bytes(batch: int, height: int, width: int, tokens: int, dim: int, vae_channels: int, dtype: str) -> int:
    """A rough upper estimate of one step or one decode, whichever is larger.

    A block holds about 16 arrays of [tokens, dim] at once (its MLP four wide ones); the decoder's last stage about 6 of
    [vae_channels, height, width].
    """
    block = 16 * tokens * dim
    decode = 6 * vae_channels * height * width
    return batch * max(block, decode) * _BYTES[dtype]
