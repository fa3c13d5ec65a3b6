"""Carry out a job: load, attach, draw picture by picture, write each as soon as it is whole."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fastdiffusers_cli.failure import Interrupted
from fastdiffusers_cli.fingerprints import check_attached, check_drawn
from fastdiffusers_cli.job import Job, Picture
from fastdiffusers_cli.picture_record import picture_record
from fastdiffusers_cli.progress import StepBar

if TYPE_CHECKING:
    from fastdiffusers.environment import Environment
    from fastdiffusers.record import Record

STAGES = ("text", "denoise", "decode", "total")


@dataclass(frozen=True)
class Drawn:
    """A picture that was written: seconds per stage, one record per accelerator, the prompt's end that did not fit T5,
    and everything that was cut off, in words.
    """

    picture: Picture
    stages: dict[str, float]
    records: list[Record]
    truncated: str | None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Drawing:
    """Everything a job gave. ``load`` and ``attach`` are seconds."""

    drawn: list[Drawn]
    load: float
    attach: float
    environment: Environment

    @property
    def stages(self) -> dict[str, float]:
        """Seconds per stage over all pictures."""
        return {stage: sum(one.stages[stage] for one in self.drawn) for stage in STAGES}

    @property
    def notes(self) -> list[str]:
        """Everything that was cut off, in words, each once."""
        return list(dict.fromkeys(note for one in self.drawn for note in one.notes))

    def accelerators(self) -> list[dict[str, Any]]:
        """One record per accelerator over all pictures."""
        return [merge([one.records[i] for one in self.drawn]) for i in range(len(self.drawn[0].records))]


def draw(job: Job, show_progress: bool) -> Drawing:
    """Draw and write every picture of ``job``. Ctrl-C raises `Interrupted`, which says what has been written."""
    drawn: list[Drawn] = []
    try:
        with StepBar(len(job.pictures), show_progress) as bar:
            return _draw(job, bar, drawn)
    except KeyboardInterrupt:
        names = ", ".join(str(one.picture.path) for one in drawn)
        count = f"{len(drawn)} of {len(job.pictures)} pictures" if len(job.pictures) > 1 else "the picture was"
        done = f"{count} written ({names})" if drawn else "no picture written"
        raise Interrupted(done) from None


def _draw(job: Job, bar: StepBar, drawn: list[Drawn]) -> Drawing:
    from fastdiffusers.environment import prepare

    began = time.perf_counter()
    environment = prepare(job.threads, job.mkl)

    import fastdiffusers
    from fastdiffusers.plan_file import write_plan
    from fastdiffusers.png import grid, write_png

    pipe = fastdiffusers.load(job.model, job.dtype)
    loaded = time.perf_counter()
    images = []
    with fastdiffusers.accelerate(pipe, job.plan) as session:
        attached = time.perf_counter()
        check_attached(session, job.fingerprints)
        if job.save_plan is not None:
            write_plan(job.plan, job.save_plan)
        for picture in job.pictures:
            bar.next_picture()
            output = pipe(**_arguments(job, picture), callback=lambda step, *_: bar.step(step + 1, pipe.context.steps))
            records = session.report()
            check_drawn(records, job.fingerprints)
            write_png(picture.path, output.images[0], picture_record(job, picture, environment, records))
            drawn.append(Drawn(picture, output.stages, records, output.truncated[0], output.notes))
            if job.grid is not None:
                images.append(output.images[0])
    if job.grid is not None:
        write_png(job.grid, grid(images, job.columns), {"grid": [picture.path.name for picture in job.pictures]})
    return Drawing(drawn, loaded - began, attached - loaded, environment)


def _arguments(job: Job, picture: Picture) -> dict[str, Any]:
    setting = job.setting
    arguments: dict[str, Any] = {
        "prompt": picture.prompt,
        "height": setting.height,
        "width": setting.width,
        "num_inference_steps": setting.steps,
        "guidance_scale": setting.guidance,
        "seed": picture.seed,
    }
    if job.negative is not None:
        arguments["negative_prompt"] = job.negative
        if "cfg" not in job.info.features:
            arguments["true_cfg_scale"] = setting.true_cfg_scale
    if job.start is not None:
        arguments |= {"image": job.start.path, "strength": setting.strength}
    return arguments


def merge(records: Sequence[Record]) -> dict[str, Any]:
    """One accelerator's records of several pictures as one: engaged only if it was in each, every different effect."""
    merged = {**records[-1].to_dict(), "engaged": all(record.engaged for record in records)}
    for key in ("reason", "effect"):
        texts = [getattr(record, key) for record in records]
        different = dict.fromkeys(texts)
        if len(different) > 1:
            merged[key] = "; ".join(f"{text} ({texts.count(text)} of {len(texts)} pictures)" for text in different)
    return merged
