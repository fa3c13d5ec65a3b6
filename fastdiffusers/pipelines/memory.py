"""Refuse before the machine runs out of memory, with both figures."""

from __future__ import annotations

import os
from pathlib import Path

from fastdiffusers.errors import InputError

_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
GIB = 1 << 30


def free_bytes() -> int | None:
    """Memory that a new allocation may use: of the GPU Paddle computes on, else of this machine and its cgroup.

    Of a GPU it is what Paddle itself has not allocated; other processes' share cannot be asked for through Paddle. None
    where nothing says (no /proc).
    """
    import paddle

    if paddle.get_device().startswith("gpu"):
        total = paddle.device.cuda.get_device_properties().total_memory
        return int(total) - int(paddle.device.cuda.memory_allocated())
    available = None
    meminfo = Path("/proc/meminfo")
    if meminfo.is_file():
        for line in meminfo.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                available = int(line.split()[1]) * 1024
    room = _cgroup_room(Path("/sys/fs/cgroup"))
    return available if room is None else room if available is None else min(available, room)


def _cgroup_room(folder: Path) -> int | None:
    """What a memory limit (cgroup version 2) leaves; file cache that can be dropped does not count as used."""
    try:
        limit = int((folder / "memory.max").read_text())
        used = int((folder / "memory.current").read_text())
        lines = (folder / "memory.stat").read_text().splitlines()
    except (OSError, ValueError):  # no such cgroup, or the limit is "max"
        return None
    droppable = next((int(line.split()[1]) for line in lines if line.startswith("inactive_file ")), 0)
    return limit - used + droppable


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


def activation_bytes(
    batch: int, height: int, width: int, tokens: int, heads: int, head_dim: int, vae_channels: int, dtype: str
) -> int:
    """A rough upper estimate of one step or one decode, whichever is larger.

    A block holds about 16 arrays of [tokens, heads·head_dim] at once (its MLP four wide ones) and, on a CPU, where
    Paddle's attention writes them out, scores and probabilities [heads, tokens, tokens]; the decoder's last stage about
    6 arrays of [vae_channels, height, width].
    """
    import paddle

    block = 16 * tokens * heads * head_dim
    if paddle.get_device().startswith("cpu"):
        block += 2 * heads * tokens * tokens
    decode = 6 * vae_channels * height * width
    return batch * max(block, decode) * _BYTES[dtype]
