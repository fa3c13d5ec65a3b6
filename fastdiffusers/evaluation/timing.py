"""Seconds of a picture, drawn one at a time by plain calls, the rows in turn."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from fastdiffusers.evaluation.against import Question, Row
from fastdiffusers.evaluation.pinning import pinned

RUNS = 3


def time_rows(question: Question, rows: Sequence[Row], runs: int = RUNS) -> list[float]:
    """Median end-to-end seconds of each row. Rows are interleaved; attaching and a first run are outside."""
    import fastdiffusers

    pipe = fastdiffusers.load(question.model)
    seconds: list[list[float]] = [[] for _ in rows]
    for turn in range(runs):
        for i in [(j + turn) % len(rows) for j in range(len(rows))]:
            row = rows[i]
            with _attached(pipe, question, row):
                prompt = question.captions[turn % len(question.captions)]
                pipe(prompt, seed=turn, num_inference_steps=min(2, row.steps), guidance_scale=question.guidance)
                began = time.perf_counter()
                pipe(prompt, seed=turn, num_inference_steps=row.steps, guidance_scale=question.guidance)
                seconds[i].append(time.perf_counter() - began)
    return [statistics.median(own) for own in seconds]


def _attached(pipe: Any, question: Question, row: Row) -> AbstractContextManager[Any]:
    if not row.accel:
        return nullcontext()
    import fastdiffusers

    words = pinned(row.accel, question.info, question.setting, question.root)
    return fastdiffusers.accelerate(pipe, words, steps=row.steps, guidance=question.guidance)
