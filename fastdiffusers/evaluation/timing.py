"""Seconds of a picture, drawn one at a time by plain calls, the rows in turn."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from contextlib import nullcontext

from fastdiffusers.evaluation.against import Question, Row, pinned

RUNS = 3


def time_rows(question: Question, rows: Sequence[Row], runs: int = RUNS) -> list[float]:
    """Median end-to-end seconds of each row. Rows are interleaved; attaching and a first run are outside."""
    import fastdiffusers

    pipe = fastdiffusers.load(question.model)
    seconds: list[list[float]] = [[] for _ in rows]
    for turn in range(runs):
        for i in [(j + turn) % len(rows) for j in range(len(rows))]:
            row = rows[i]
            attached = fastdiffusers.accelerate(pipe, pinned(row.accel, question)) if row.accel else nullcontext()
            with attached:
                prompt = question.captions[turn]
                pipe(prompt, seed=turn, num_inference_steps=min(2, row.steps), guidance_scale=question.guidance)
                began = time.perf_counter()
                pipe(prompt, seed=turn, num_inference_steps=row.steps, guidance_scale=question.guidance)
                seconds[i].append(time.perf_counter() - began)
    return [statistics.median(own) for own in seconds]
