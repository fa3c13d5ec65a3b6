"""What ``fastdiff infer`` says at the end: one table of stages, one record per accelerator; or the same as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastdiffusers.counting import counted
from fastdiffusers_cli.output import options_in_words, print_note, print_pairs, print_table
from fastdiffusers_cli.picture_record import model_dict

if TYPE_CHECKING:
    from fastdiffusers_cli.drawing import Drawing
    from fastdiffusers_cli.job import Job

SHOWN = 8  # pictures named one by one; of more, the first and the last


def as_dict(job: Job, drawing: Drawing) -> dict[str, Any]:
    """The JSON object; the keys up to ``accelerators`` are a promise."""
    setting = job.setting
    return {
        "model": model_dict(job),
        "settings": {
            "steps": setting.steps,
            "guidance": setting.guidance,
            "height": setting.height,
            "width": setting.width,
            "true_cfg_scale": setting.true_cfg_scale,
            "negative_prompt": job.negative,
            "image": str(job.start.path) if job.start else None,
            "strength": setting.strength,
        },
        "images": [
            {
                "path": str(one.picture.path),
                "prompt": one.picture.prompt,
                "seed": one.picture.seed,
                "stages": one.stages,
                "truncated": one.truncated,
                "accelerators": [record.to_dict() for record in one.records],
            }
            for one in drawing.drawn
        ],
        "stages": drawing.stages,
        "accelerators": drawing.accelerators(),
        "grid": str(job.grid) if job.grid else None,
        "load": drawing.load,
        "attach": drawing.attach,
        "environment": {"threads": drawing.environment.threads, "mkl": drawing.environment.mkl},
        "notes": [*job.notes, *drawing.notes],
    }


def print_report(job: Job, drawing: Drawing) -> None:
    """Tables on stdout, notes on stderr."""
    setting, count = job.setting, len(drawing.drawn)
    guidance = f", guidance {setting.guidance:g}" if {"guidance", "cfg"} & job.info.features else ""
    print(f"{job.info.name}, {setting.width}x{setting.height}, {counted(setting.steps, 'step')}{guidance}, {job.dtype}")
    for one in drawing.drawn if count <= SHOWN else [drawing.drawn[0], drawing.drawn[-1]]:
        print(f"{one.picture.path}  {one.picture.prompt!r}  seed {one.picture.seed}")
    if count > SHOWN:
        print(f"({count} pictures in all)")
    if job.grid is not None:
        print(f"{job.grid}  all of them in one")
    print()
    seconds = [("load", drawing.load), *drawing.stages.items()]
    share = drawing.stages["total"] or 1.0
    print_table(
        ["stage", "seconds", "share"],
        [[name, f"{value:.3f}", "" if name == "load" else f"{value / share:.0%}"] for name, value in seconds],
        right=["seconds", "share"],
    )
    print()
    records = drawing.accelerators()
    for record in records:
        print_pairs(
            [
                ("accelerator", record["name"]),
                ("options", options_in_words(record["options"])),
                *(("", note) for note in record["notes"]),
                ("requested", f"{'yes' if record['requested'] else 'no'} ({record['source']})"),
                ("engaged", record["engaged"]),
                ("reason", record["reason"]),
                ("effect", record["effect"]),
            ]
        )
        print()
    if not records:
        print("no accelerator; `fastdiff accel list` shows them, --accel NAME switches one on")
    print(f"computed with {drawing.environment}")
    for note in [*job.notes, *drawing.notes]:
        print_note(note)
