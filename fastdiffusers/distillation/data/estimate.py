"""What a preparation will take, said before it starts."""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fastdiffusers.distillation.data.encoding import encode
from fastdiffusers.distillation.data.plan import Plan
from fastdiffusers.distillation.data.teacher import on_cpu
from fastdiffusers.environment import current, physical_cores
from fastdiffusers.errors import InputError
from fastdiffusers.pipelines import memory

STATIC_GAIN = 2.0
"""How much faster the transformer is on a static graph, on a CPU; measured on the embedded model."""
START = 10.0
"""Seconds until the first picture: a process loads the model and builds the graph."""
TRIED = 8
QUICK = 2.0


@dataclass(frozen=True)
class Estimate:
    """What is left to do.

    Attributes:
        pictures: how many; of shards at least one each is assumed, and ``exact`` is False.
        steps: Euler steps of the teacher for each; 0: the picture is encoded.
        seconds: for one picture.
        workers: processes that draw.
        size: bytes of the whole store.
    """

    pictures: int
    steps: int
    seconds: float
    workers: int
    size: int
    exact: bool = True

    def __str__(self) -> str:
        if not self.exact:
            return f"about {_duration(self.seconds)} for each picture of {self.pictures:,} shards"
        what = f"pictures x {self.steps} steps" if self.steps else "pictures to encode"
        by = f" in {self.workers} processes" if self.workers > 1 else ""
        took = _duration(self.pictures * self.seconds + (START if self.workers > 1 else 0))
        return f"{self.pictures:,} {what}, about {took}{by}, {_bytes(self.size)} on disk"


def estimate(pipe: Any, plan: Plan, folder: Path, workers: int, done: int = 0) -> Estimate:
    """What is left of a preparation of which ``done`` pictures exist; measured on a few evaluations of the model.

    `InputError` if the disk of ``folder`` has no room.
    """
    found = plan.found
    pictures = len(plan.captions) if plan.drawn else min(plan.options.examples or found.units, found.units)
    left = max(0, pictures - done)
    steps = 0 if plan.sigmas is None else len(plan.sigmas) - 1
    if plan.drawn:
        each = _seconds_of_evaluation(pipe, plan) * plan.evaluations
        if on_cpu():
            each *= min(current().threads, physical_cores()) / min(workers, physical_cores()) / STATIC_GAIN
    else:
        each = _seconds_of_encoding(pipe, plan)
    size = _size(pipe, plan, pictures)
    # a preparation that goes on has some of its files already
    needed, free = size * left // max(1, pictures), shutil.disk_usage(folder).free
    if needed > free:
        raise InputError(
            f"{str(folder)!r} needs {_bytes(needed)} and has {_bytes(free)}; use fewer examples or another disk"
        )
    exact = found.kind != "laion" or plan.options.examples is not None
    return Estimate(left, steps, each, workers if plan.drawn else 1, size, exact)


def default_workers(plan: Plan) -> int:
    """Processes that draw: one for every hardware thread there is memory for; 1 on a GPU."""
    if not plan.drawn or not on_cpu():
        return 1
    threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    weights = memory.weights_bytes(sum(plan.info.parameters().values()), "float32")
    free = memory.free_bytes()
    room = threads if free is None else max(1, free // (2 * weights))
    return max(1, min(threads, 2 * physical_cores(), room))


def _seconds_of_evaluation(pipe: Any, plan: Plan) -> float:
    """Seconds that the network takes for a picture and a step, as it is."""
    count = max(1, min(TRIED, 4096 // plan.tokens(plan.sizes[0])))
    sampler = plan.family.sampler(pipe, count, plan.resolution, static=False)
    captions, seeds, guidance = [""] * count, [*range(count)], [1.0] * count
    assert plan.sigmas is not None
    first = plan.sigmas[:2]
    evaluate = lambda: sampler.states(captions, seeds, first, guidance, [1], None)  # noqa: E731
    return _timed(evaluate) / count


def _seconds_of_encoding(pipe: Any, plan: Plan) -> float:
    size = plan.sizes[0]
    return _timed(lambda: encode(pipe, plan.family, [np.zeros((*size, 3), np.uint8)], size))


def _timed(call: Any) -> float:
    """Seconds of a call, after a first one to warm up unless that took long."""
    for _ in range(2):
        began = time.perf_counter()
        call()
        took = time.perf_counter() - began
        if took > QUICK:
            break
    return took


def _size(pipe: Any, plan: Plan, pictures: int) -> int:
    inner = max(0, len(plan.at) - 2)
    latents = pictures * plan.tokens(plan.sizes[0]) * plan.channels * 2 * (1 + inner)
    captions = len(set(plan.captions)) if plan.drawn else pictures
    return latents + 2 * captions * plan.family.text_numbers(pipe)


def _duration(seconds: float) -> str:
    if seconds < 1:
        return f"{seconds:.1g} s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _bytes(size: int) -> str:
    for unit, scale in (("GB", 1e9), ("MB", 1e6)):
        if size >= scale:
            return f"{size / scale:,.3g} {unit}"
    return f"{size / 1e3:.0f} kB"
