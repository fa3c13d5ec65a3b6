"""The examples of a distillation: from pictures with captions, or drawn by the teacher; prepared once, read by all.

- `options`: what can be asked for; `sourcing` and `sources`: who hands over samples; `filters`, `buckets`, `picture`
- `plan`: sizes, noise levels and the hash of everything; `estimate`: what it will take
- `encoding`, `teacher`: pictures, captions and drawn latents onto disk, in chunks; `preparing`: all of it, resumable
- `store`: reads it, memory-mapped

Imports no Paddle by itself: `prepare` does when it is called.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastdiffusers.distillation.data.options import DataOptions
from fastdiffusers.distillation.data.sample import Sample, Tally
from fastdiffusers.distillation.data.sources.base import Source
from fastdiffusers.distillation.data.sourcing import kind_of, source
from fastdiffusers.distillation.data.store import Examples, Store

__all__ = ["DataOptions", "Examples", "Sample", "Source", "Store", "Tally", "kind_of", "prepare", "source"]


def prepare(
    pipe: Any, options: DataOptions, folder: Path | None = None, progress: bool = True, workers: int | None = None
) -> Store:
    """See `fastdiffusers.distillation.data.preparing.prepare`."""
    from fastdiffusers.distillation.data.preparing import prepare as work

    return work(pipe, options, folder, progress, workers)
