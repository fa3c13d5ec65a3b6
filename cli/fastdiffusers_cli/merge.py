"""``fastdiff merge``: a distilled student and its base as one model folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("merge")(merge)


def merge(
    student: Annotated[
        str, typer.Argument(help="A name that `fastdiff adapter` lists, a folder that `distill` wrote, or a LoRA file.")
    ],
    model: Annotated[str, typer.Option(help="The base: a model's name, or its folder.")],
    out: Annotated[Path, typer.Option(help="The folder to write; it must not exist.")],
    scale: Annotated[float, typer.Option(help="Factor on an adapter; 1 as it was trained.", min=0.0)] = 1.0,
    json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Write a model folder of diffusers' layout that has a distilled student's weights.

    Any program that opens such folders draws with it in few steps; here `--model FOLDER` does, without `--accel`.
    """
    from fastdiffusers.counting import counted
    from fastdiffusers.distillation.adapter import use_of
    from fastdiffusers.distillation.listing import find_adapter
    from fastdiffusers.distillation.merged_folder import merge_folder
    from fastdiffusers.environment import prepare
    from fastdiffusers.models.info import describe
    from fastdiffusers.zoo import DEFAULT
    from fastdiffusers_cli.asking import choose_model
    from fastdiffusers_cli.output import print_json, print_note

    info = describe(choose_model(model, DEFAULT))
    source = find_adapter(student, info.name)
    prepare()
    done = merge_folder(source, info, out, scale)
    card = done.card
    if card is not None and card.base_sha256 != info.sha256:
        print_note(f"it was made for {card.base} ({card.base_sha256[:12]}…), this is {info.name} ({info.sha256[:12]}…)")
    report: dict[str, Any] = {
        "out": str(out),
        "student": str(source),
        "base": info.name,
        "weights": done.weights,
        "scale": done.scale,
        "scheduler": done.scheduler or None,
        **use_of(card),
    }
    if json:
        print_json(report)
        return
    what = f"{counted(done.weights, 'weight')} changed, scale {done.scale:g}"
    if not done.weights:
        what = f"the student's whole {info.parts.denoiser}"
    print(f"wrote {out}: {what}")
    if card is None:
        print("a LoRA file says nothing of steps and scheduler: set them when drawing")
    else:
        named = done.scheduler or "the base's scheduler"
        levels = "" if card.shift is None else f", levels shifted by {card.shift:g}"
        print(f"draws in {counted(card.steps, 'step')} of {named}{levels}: fastdiff infer --model {out}")
