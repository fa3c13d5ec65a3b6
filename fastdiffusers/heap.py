"""Memory that is freed is kept for the next tensor, instead of going back to the system at every step.

Paddle's CPU allocator asks the C library for every tensor. That gives memory back as soon as 64 MB or less lie free at
its end, and fetches it again page by page: for a softmax over [16, 320, 320] that took longer than the softmax.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Mapping

SWITCH = "FASTDIFFUSERS_HEAP"
KEPT = 512 << 20
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # names of mallopt(3), from glibc's malloc.h
_LARGEST_MMAP_THRESHOLD = 32 << 20  # where glibc's own adaptation ends
_OWN = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TOP_PAD_")


def keep_freed_memory(environ: Mapping[str, str] = os.environ) -> bool:
    """Let the process keep up to 512 MB that are free; returns whether it does so now.

    Not where the user has set one of glibc's own variables or ``FASTDIFFUSERS_HEAP=0``, nor with another C library.
    """
    tuned = any(name in environ for name in _OWN) or "glibc.malloc" in environ.get("GLIBC_TUNABLES", "")
    if tuned or environ.get(SWITCH) == "0" or not _is_glibc():
        return False
    library = ctypes.CDLL(None)
    return bool(
        # each switches glibc's adaptation off, so both are set
        library.mallopt(_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD) and library.mallopt(_TRIM_THRESHOLD, KEPT)
    )


def _is_glibc() -> bool:
    try:
        return (os.confstr("CS_GNU_LIBC_VERSION") or "").startswith("glibc")
    except (AttributeError, ValueError):  # no such system, or no such name on it
        return False
