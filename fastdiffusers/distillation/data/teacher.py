"""Latents drawn by the teacher, with its states on the way: in worker processes on a CPU, else in this one."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fastdiffusers.distillation.data.files import CHUNK, array_file, load_json, record_file, save_half, save_json
from fastdiffusers.distillation.method import teacher_family
from fastdiffusers.evaluation.crew import Crew, Task
from fastdiffusers.evaluation.meter import Meter

if TYPE_CHECKING:
    from fastdiffusers.distillation.data.plan import Plan

JOB = "job.json"
TOKENS_AT_ONCE = 16384
BATCH_MOST = 32


def draw_latents(pipe: Any, plan: Plan, folder: Path, workers: int, show: bool) -> int:
    """Every chunk that is not in ``folder`` yet, by ``workers`` processes (1: in this one); returns the number."""
    count = len(plan.captions)
    chunks = range(-(-count // CHUNK))
    missing = [i for i in chunks if not record_file(folder, i).is_file()]
    save_json(folder / JOB, _job(plan))
    _read_job.cache_clear()
    with Meter("drawing", evaluations(plan, missing), "evaluations", show and bool(missing)) as meter:
        if workers > 1 and len(missing) > 1:
            tasks = [Task(f"{__name__}:draw_chunk", {"folder": str(folder), "chunk": i}) for i in missing]
            with Crew(min(workers, len(tasks))) as crew:
                crew.run(tasks, lambda task, result: meter.add(evaluations(plan, [task.arguments["chunk"]])))
        elif missing:
            sampler = plan.family.sampler(pipe, batch_size(plan, count), plan.resolution, static=on_cpu())
            for i in missing:
                draw(sampler, folder, i)
                meter.add(evaluations(plan, [i]))
    return len(chunks)


def draw_chunk(folder: str, chunk: int) -> None:
    """What a worker does: draw one chunk and save it."""
    job = _read_job(folder)
    draw(_sampler(job["model"], job["sha256"], job["batch"], job["size"][0]), Path(folder), chunk)


def draw(sampler: Any, folder: Path, chunk: int) -> None:
    """Draw one chunk of the job in ``folder`` and save it."""
    job = _read_job(str(folder))
    rows = range(chunk * CHUNK, min((chunk + 1) * CHUNK, len(job["captions"])))
    sigmas = np.asarray(job["sigmas"], np.float32)
    last = len(sigmas) - 1
    inner = [i for i in job["at"] if 0 < i < last]
    parts = []
    for start in range(rows.start, rows.stop, sampler.batch):
        some = range(start, min(start + sampler.batch, rows.stop))
        captions, guidance = ([job[name][i] for i in some] for name in ("captions", "guidance"))
        seeds = [job["first_seed"] + i for i in some]
        states = sampler.states(captions, seeds, sigmas, guidance, [*inner, last], job["embedded"])
        parts.append([state.numpy() for state in states])
    sampler.forget_texts()
    *before, latents = (np.concatenate(states) for states in zip(*parts, strict=True))
    save_half(array_file(folder, "latents", chunk, tuple(job["size"])), latents)
    if before:
        save_half(array_file(folder, "states", chunk, tuple(job["size"])), np.stack(before, axis=1))
    save_json(record_file(folder, chunk), {"examples": [(0, job["captions"][i]) for i in rows]})


def evaluations(plan: Plan, chunks: list[int]) -> int:
    """Evaluations of the transformer for some chunks, of a single picture each."""
    count = len(plan.captions)
    return sum(min((i + 1) * CHUNK, count) - i * CHUNK for i in chunks) * plan.evaluations


def batch_size(plan: Plan, count: int) -> int:
    """Pictures drawn at once: few large ones, many small ones."""
    return max(1, min(BATCH_MOST, count, TOKENS_AT_ONCE // plan.tokens(plan.sizes[0])))


def on_cpu() -> bool:
    """Whether Paddle computes on a CPU."""
    import paddle

    return str(paddle.get_device()).startswith("cpu")


def _job(plan: Plan) -> dict[str, Any]:
    assert plan.sigmas is not None
    return {
        "model": str(plan.info.path.resolve()),
        "sha256": plan.info.sha256,
        "batch": batch_size(plan, len(plan.captions)),
        "size": list(plan.sizes[0]),
        "sigmas": plan.sigmas.tolist(),
        "at": list(plan.at),
        "embedded": plan.embedded,
        "first_seed": plan.first_seed,
        "captions": plan.captions,
        "guidance": plan.guidance.tolist(),
    }


@lru_cache(maxsize=1)
def _read_job(folder: str) -> dict[str, Any]:
    job: dict[str, Any] = load_json(Path(folder) / JOB)
    return job


@lru_cache(maxsize=1)
def _sampler(model: str, sha256: str, batch: int, size: int) -> Any:
    from fastdiffusers.evaluation.drawing import loaded

    pipe = loaded(model, sha256)
    return teacher_family(pipe.info).sampler(pipe, batch, size)
