"""Computes once what every step of a distillation needs of its examples, and keeps it on disk."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from fastdiffusers.counting import counted
from fastdiffusers.distillation.data.encoding import encode_captions, encode_pictures
from fastdiffusers.distillation.data.estimate import default_workers, estimate
from fastdiffusers.distillation.data.files import (
    CAPTIONS,
    CHUNK,
    EXAMPLE,
    EXAMPLES,
    FORMAT,
    STORE,
    load_json,
    record_file,
    remove_remains,
    save_array,
    save_json,
)
from fastdiffusers.distillation.data.options import DataOptions
from fastdiffusers.distillation.data.plan import Plan, make_plan
from fastdiffusers.distillation.data.sample import Tally
from fastdiffusers.distillation.data.store import Store
from fastdiffusers.distillation.data.teacher import draw_latents
from fastdiffusers.errors import InputError
from fastdiffusers.files import cache_dir

LOCK = ".lock"


def default_root() -> Path:
    """Where preparations are kept unless told otherwise."""
    return cache_dir() / "distillation"


def prepare(
    pipe: Any, options: DataOptions, folder: Path | None = None, progress: bool = True, workers: int | None = None
) -> Store:
    """Latents, text embeddings and, if asked for, trajectories of the examples that ``options`` name.

    They are kept below ``folder`` (`default_root`), under a name that hashes everything they depend on. What is there
    is used: a second call returns at once, one after an interruption goes on. Two processes may call at the same time;
    one works, the other waits for it. ``progress``: say on stderr what is done. ``workers``: processes in which the
    teacher draws on a CPU; 1 draws in this one.

    Raises `InputError` for data that cannot be used, in one line.
    """
    plan = make_plan(pipe, options)
    place = (default_root() if folder is None else Path(folder)) / plan.name
    if not (place / STORE).is_file():
        with _alone(place, progress):
            if not (place / STORE).is_file():
                _work(pipe, plan, place, progress, default_workers(plan) if workers is None else workers)
    store = Store.open(place)
    Tally.from_dict(store.meta["counts"]).check(options.max_unreadable, store.meta["source"], last=True)
    return store


def _work(pipe: Any, plan: Plan, folder: Path, progress: bool, workers: int) -> None:
    remove_remains(folder)
    done = CHUNK * sum(1 for _ in folder.glob("chunk-*.json"))
    expected = estimate(pipe, plan, folder, workers, done)
    if progress:
        print(f"preparing {plan.found.describe()}: {expected}", file=sys.stderr)
    if plan.drawn:
        chunks = draw_latents(pipe, plan, folder, workers, progress)
    else:
        chunks = encode_pictures(pipe, plan, folder, progress)
    records = [load_json(record_file(folder, i)) for i in range(chunks)]
    counts = _counts(plan, records)
    captions = [caption for record in records for _, caption in record["examples"]]
    if not captions:
        raise InputError(f"{plan.found.describe()}: nothing to train on ({counts.summary()})")
    texts = encode_captions(pipe, plan.family, captions, folder, progress)
    _finish(plan, folder, records, texts, counts)
    if progress:
        cut = (
            f"; {counted(texts['truncated'], 'caption')} cut off at {texts['tokens']} tokens"
            if texts["truncated"]
            else ""
        )
        print(f"prepared {counts.summary()}{cut}", file=sys.stderr)


def _counts(plan: Plan, records: list[dict[str, Any]]) -> Tally:
    if plan.drawn:
        return Tally(used=len(plan.captions))
    total = Tally()
    for record in records:
        total.add(Tally.from_dict(record["counts"]))
    return total


def _finish(plan: Plan, folder: Path, records: list[dict[str, Any]], texts: dict[str, int], counts: Tally) -> None:
    """Write the index of all examples and, last of all, the store's record."""
    numbers = {caption: i for i, caption in enumerate(load_json(folder / CAPTIONS))}
    rows: list[tuple[int, int, int, int, int, float]] = []
    for chunk, record in enumerate(records):
        filled = [0] * len(plan.sizes)
        for bucket, caption in record["examples"]:
            seed, guidance = (plan.first_seed + len(rows), float(plan.guidance[len(rows)])) if plan.drawn else (0, 0.0)
            rows.append((chunk, filled[bucket], bucket, numbers[caption], seed, guidance))
            filled[bucket] += 1
    save_array(folder / EXAMPLES, np.array(rows, dtype=EXAMPLE))
    sigmas = None if plan.sigmas is None else [float(sigma) for sigma in plan.sigmas]
    meta = {
        "format": FORMAT,
        "model": {"name": plan.info.name, "sha256": plan.info.sha256},
        "source": plan.found.describe(),
        "drawn": plan.drawn,
        "counts": counts.to_dict(),
        "sizes": [list(size) for size in plan.sizes],
        "cell": plan.cell,
        "sigmas": sigmas,
        "first_seed": plan.first_seed if plan.drawn else None,
        "state_sigmas": [sigmas[i] for i in plan.at] if sigmas and plan.at else None,
        "texts": texts,
        "decided_by": plan.record,
    }
    save_json(folder / STORE, meta)


@contextmanager
def _alone(folder: Path, progress: bool) -> Iterator[None]:
    """Hold ``folder`` for this process, after whoever holds it now; the system frees it when the process ends."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        stream = open(folder / LOCK, "w")  # noqa: SIM115 (closed below)
    except OSError as error:
        raise InputError(f"cannot write {str(folder)!r}: {error.strerror or error}") from None
    with stream:
        if sys.platform != "win32":
            import fcntl

            try:
                try:
                    fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    if progress:
                        print(f"waiting for another process that prepares {str(folder)!r}", file=sys.stderr)
                    fcntl.flock(stream, fcntl.LOCK_EX)
            except OSError as error:
                raise InputError(f"cannot lock {str(folder / LOCK)!r}: {error.strerror or error}") from None
        yield
