"""Pictures and captions through the frozen autoencoder and text encoders, chunk by chunk onto disk."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import paddle

from fastdiffusers.distillation.data.buckets import Size, fitted, nearest_bucket
from fastdiffusers.distillation.data.files import (
    CAPTIONS,
    CHUNK,
    LOOKED_AT,
    array_file,
    load_json,
    record_file,
    save_half,
    save_json,
    text_rows,
)
from fastdiffusers.distillation.data.plan import Plan
from fastdiffusers.distillation.data.sample import Cursor, Item, Sample, Skipped, Tally, Unreadable, UnreadableSample
from fastdiffusers.distillation.teacher_family import TeacherFamily
from fastdiffusers.evaluation.meter import Meter

TEXT_TOKENS_AT_ONCE = 4096
TEXT_BATCH = 32
PIXELS_AT_ONCE = 1 << 20
"""Pixels of a batch that the autoencoder encodes: one picture of 1024 x 1024, 16 of 256 x 256 …"""
BATCH_MOST = 32


def encode_pictures(pipe: Any, plan: Plan, folder: Path, show: bool) -> int:
    """Every chunk that is not in ``folder`` yet; returns the number of chunks.

    `InputError` as soon as too many samples are unreadable; the chunks before stay.
    """
    limit = plan.options.examples
    chunk, cursor, total = 0, Cursor(), Tally()
    while record_file(folder, chunk).is_file():
        record = load_json(record_file(folder, chunk))
        total.add(Tally.from_dict(record["counts"]))
        cursor, chunk = Cursor(*record["end"]), chunk + 1
    with Meter("encoding pictures", plan.found.units, f"{plan.found.kind} units", show) as meter:
        meter.add(cursor.unit)
        items = _Reader(plan, cursor)
        while not items.ended and (limit is None or total.used < limit):
            began = items.cursor.unit
            wanted = CHUNK if limit is None else min(CHUNK, limit - total.used)
            counts = _encode_chunk(pipe, plan, folder, chunk, items, wanted)
            if not counts.seen:  # the chunk before was the last
                break
            total.add(counts)
            total.check(plan.options.max_unreadable, plan.found.describe(), last=False)
            meter.add(items.cursor.unit - began)
            chunk += 1
    total.check(plan.options.max_unreadable, plan.found.describe(), last=True)
    return chunk


class _Reader:
    """Samples with their pictures read and cut, from a place on."""

    def __init__(self, plan: Plan, cursor: Cursor) -> None:
        self._plan = plan
        self._items: Iterator[tuple[Cursor, Item]] = plan.found.items(cursor)
        self.cursor = cursor
        self.ended = False

    def take(self) -> tuple[Item, int, np.ndarray] | None:
        """The next item; of a sample its bucket and picture, uint8 ``[H, W, 3]``. None at the end."""
        place = next(self._items, None)
        if place is None:
            self.ended = True
            return None
        self.cursor, item = place
        nothing = np.empty(0, np.uint8)
        if not isinstance(item, Sample) or item.open is None:
            return item, 0, nothing
        try:
            picture = item.open()
        except UnreadableSample as error:
            return Unreadable(f"{item.key}: {error}"), 0, nothing
        reason = self._plan.found.filters.by_size(picture)
        if reason is not None:
            return Skipped(reason), 0, nothing
        bucket = nearest_bucket((picture.height, picture.width), self._plan.sizes)
        return item, bucket, fitted(picture, self._plan.sizes[bucket])


def _encode_chunk(pipe: Any, plan: Plan, folder: Path, chunk: int, items: _Reader, wanted: int) -> Tally:
    counts = Tally()
    pictures: dict[int, list[np.ndarray]] = {}
    examples: list[tuple[int, str]] = []
    while counts.used < wanted and counts.seen < LOOKED_AT:
        taken = items.take()
        if taken is None:
            break
        item, bucket, picture = taken
        counts.count(item)
        if isinstance(item, Sample):
            pictures.setdefault(bucket, []).append(picture)
            examples.append((bucket, item.caption))
    if not counts.seen:
        return counts
    for bucket, some in pictures.items():
        size = plan.sizes[bucket]
        save_half(array_file(folder, "latents", chunk, size), encode(pipe, plan.family, some, size))
    record = {"end": [*items.cursor], "counts": counts.to_dict(), "examples": examples}
    save_json(record_file(folder, chunk), record)
    return counts


@paddle.no_grad()
def encode(pipe: Any, family: TeacherFamily, pictures: Sequence[np.ndarray], size: Size) -> np.ndarray:
    """Scaled latents of pictures uint8 ``[H, W, 3]`` of one size, the mode of the posterior: float32 ``[B, …]``."""
    batch = max(1, min(BATCH_MOST, PIXELS_AT_ONCE // (size[0] * size[1])))
    parts = []
    for i in range(0, len(pictures), batch):
        some = np.stack(pictures[i : i + batch]).transpose(0, 3, 1, 2).astype(np.float32)
        parts.append(family.encode(pipe, some / np.float32(127.5) - np.float32(1)))
    return np.concatenate(parts)


@paddle.no_grad()
def encode_captions(
    pipe: Any, family: TeacherFamily, captions: Sequence[str], folder: Path, show: bool
) -> dict[str, int]:
    """Embed the empty caption and every different one of ``captions``, as far as they are not in ``folder`` yet.

    Returns what the store's record says of them.
    """
    unique = list(dict.fromkeys(["", *captions]))
    text, pooled, _ = family.encode_captions(pipe, [""])
    rows = text_rows(*text.shape[1:])
    batch = max(1, min(TEXT_BATCH, TEXT_TOKENS_AT_ONCE // text.shape[1]))
    cut = 0
    with Meter("encoding captions", len(unique), "captions", show) as meter:
        for chunk, start in enumerate(range(0, len(unique), rows)):
            some = unique[start : start + rows]
            note = folder / f"text-{chunk:05d}.json"  # written last: says that both arrays are there
            if not note.is_file():
                parts = [family.encode_captions(pipe, some[i : i + batch]) for i in range(0, len(some), batch)]
                save_half(array_file(folder, "text", chunk), np.concatenate([part[0] for part in parts]))
                save_half(array_file(folder, "pooled", chunk), np.concatenate([part[1] for part in parts]))
                save_json(note, {"truncated": sum(part[2] for part in parts)})
            cut += load_json(note)["truncated"]
            meter.add(len(some))
    save_json(folder / CAPTIONS, unique)
    shape = {"tokens": text.shape[1], "width": text.shape[2], "pooled": pooled.shape[1]}
    return {"count": len(unique), "rows": rows, **shape, "truncated": cut}
