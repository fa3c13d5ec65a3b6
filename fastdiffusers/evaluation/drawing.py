"""Draws sets of pictures: what is on disk stays, worker processes share the rest. No Paddle at the top."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fastdiffusers.errors import InputError
from fastdiffusers.evaluation.crew import Crew, Task
from fastdiffusers.evaluation.meter import Meter
from fastdiffusers.evaluation.picture_set import PictureSet, save_chunk

if TYPE_CHECKING:
    from fastdiffusers.evaluation.sampler import Sampler

BATCH = 8
"""Pictures that are drawn together where an accelerator is attached, and that a cache decides for together."""


def draw(sets: Sequence[PictureSet], root: Path, crew: Crew, show: bool = True) -> float:
    """Draw every missing chunk of ``sets`` under ``root``; returns evaluations of the transformer a second, of all.

    Interrupted, it goes on where it was when called again. 0 when there was nothing to draw.
    """
    tasks: list[Task] = []
    for picture_set in dict.fromkeys(sets):
        missing = picture_set.missing(root)
        if missing:
            folder = str(picture_set.describe(root))
            tasks += [Task(f"{__name__}:draw_chunk", {"folder": folder, "chunk": i}) for i in missing]
    if not tasks:
        return 0.0
    known = {picture_set.folder(root): picture_set for picture_set in sets}

    def evaluations(task: Task) -> int:
        picture_set = known[Path(task.arguments["folder"])]
        rows = picture_set.rows(task.arguments["chunk"])
        return (rows.stop - rows.start) * picture_set.steps

    tasks.sort(key=evaluations, reverse=True)  # the long ones first: nobody waits for one at the end
    with Meter("drawing", sum(map(evaluations, tasks)), "evaluations", show) as meter:
        crew.run(tasks, lambda task, result: meter.add(evaluations(task)))
        return meter.rate


def draw_chunk(folder: str, chunk: int) -> None:
    """What a worker does: draw one chunk and save it."""
    picture_set = PictureSet.read(Path(folder))
    rows = picture_set.rows(chunk)
    prompts, seeds, steps, guidance = (
        picture_set.prompts[rows],
        picture_set.seeds[rows],
        picture_set.steps,
        picture_set.guidance,
    )
    if picture_set.accel:
        pipe = loaded(picture_set.model, picture_set.model_sha256)
        pictures = accelerated(pipe, picture_set.accel, prompts, seeds, steps, guidance)
    else:
        sampler = _sampler(picture_set.model, picture_set.model_sha256)
        pictures = sampler(prompts, seeds, steps, guidance, picture_set.mu)
    save_chunk(Path(folder), "pictures", chunk, pictures)


def accelerated(
    pipe: Any, accel: str, prompts: Sequence[str], seeds: Sequence[int], steps: int, guidance: float
) -> np.ndarray:
    """uint8 ``[len(prompts), H, W, 3]``, drawn by the pipeline itself with ``accel`` attached, ``BATCH`` at a time."""
    from fastdiffusers.noise import picture_noise
    from fastdiffusers.pipelines import pixels
    from fastdiffusers.session import accelerate

    side = int(pipe.vae.config.sample_size) // pipe.vae_scale_factor
    found: list[np.ndarray] = []
    with accelerate(pipe, accel, steps=steps, guidance=guidance):
        for i in range(0, len(prompts), BATCH):
            noise = picture_noise((pipe.vae.config.latent_channels, side, side), seeds[i : i + BATCH])
            output = pipe(
                list(prompts[i : i + BATCH]),
                num_inference_steps=steps,
                guidance_scale=guidance,
                latents=pixels.pack(noise),
            )
            found += [np.asarray(image) for image in output.images]
    return np.stack(found)


@lru_cache(maxsize=1)
def loaded(model: str, sha256: str) -> Any:
    """The pipeline of a model, kept in this process; `InputError` if it has another hash meanwhile."""
    import fastdiffusers

    pipe: Any = fastdiffusers.load(model)
    if pipe.info.sha256 != sha256:
        raise InputError(f"model {model!r} has the hash {pipe.info.sha256}, not {sha256}; it changed meanwhile")
    return pipe


@lru_cache(maxsize=1)
def _sampler(model: str, sha256: str) -> Sampler:
    from fastdiffusers.evaluation.sampler import Sampler

    return Sampler(loaded(model, sha256))
