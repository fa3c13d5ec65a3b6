"""``fastdiff infer``: pictures from a prompt."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from fastdiffusers_cli.output import print_json


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("infer")(infer)


def infer(
    prompt: Annotated[str | None, typer.Argument(help="What to draw; by default a prompt of the model.")] = None,
    prompts: Annotated[Path | None, typer.Option(help="A file of prompts, one a line, instead.")] = None,
    negative: Annotated[str | None, typer.Option(help="What not to draw; needs --true-cfg above 1.")] = None,
    true_cfg: Annotated[
        float | None, typer.Option(help="True classifier-free guidance against --negative; doubles the work.")
    ] = None,
    accel: Annotated[
        list[str] | None,
        typer.Option(help="Accelerators, such as teacache:threshold=0.4; a comma composes several."),
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Sampling steps.  [default: the model's, 28]")] = None,
    guidance: Annotated[float | None, typer.Option(help="Embedded guidance.  [default: the model's, 3.5]")] = None,
    seed: Annotated[
        int | None,
        typer.Option(help="Seed; picture i, counted over all prompts, has seed + i.  [default: 0]"),
    ] = None,
    size: Annotated[str | None, typer.Option(help="WIDTHxHEIGHT in pixels.  [default: the model's]")] = None,
    model: Annotated[
        str | None, typer.Option(help="An embedded model, or a folder in diffusers' layout.  [default: flux-emoji]")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="PNG to write.  [default: fastdiff.png; x-again.png with --from x.png]"),
    ] = None,
    n: Annotated[int | None, typer.Option("--n", "-n", help="Pictures of each prompt: OUT-1.png, …")] = None,
    grid: Annotated[bool, typer.Option("--grid", help="Also write all pictures as one, to OUT.")] = False,
    image: Annotated[Path | None, typer.Option(help="Start from this picture (img2img).")] = None,
    strength: Annotated[
        float | None, typer.Option(help="With --image: share of the steps that are run, up to 1.  [default: 0.6]")
    ] = None,
    dtype: Annotated[
        str | None, typer.Option(help="float32; bfloat16 or float16 on a GPU.  [default: float32]")
    ] = None,
    threads: Annotated[int | None, typer.Option(help="CPU threads.  [default: physical cores]")] = None,
    devices: Annotated[
        int | None,
        typer.Option(help="Processes that share the pictures, one for each GPU; any number on a CPU.", min=1),
    ] = None,
    plan: Annotated[
        Path | None,
        typer.Option(help="Accelerators and setting from a YAML file; options given here win over its setting."),
    ] = None,
    save_plan: Annotated[Path | None, typer.Option(help="Write the plan to a YAML file for --plan.")] = None,
    source: Annotated[
        Path | None,
        typer.Option("--from", help="Draw a picture of ours again, byte for byte, from the record inside it."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Draw pictures from a prompt, with accelerators.

    Every PNG carries its plan: `fastdiff infer --from apple.png` draws the same bytes again, to apple-again.png in this
    folder unless --out names another; the original is never written over.
    """
    options = dict(locals())
    from fastdiffusers_cli.asking import job_from_options
    from fastdiffusers_cli.drawing import draw
    from fastdiffusers_cli.infer_report import as_dict, print_report
    from fastdiffusers_cli.redraw import job_from_record, verdict
    from fastdiffusers_cli.sharing import draw_shared

    given = _given(options)
    job = job_from_record(source, given) if source is not None else job_from_options(given)
    original = source.read_bytes() if source is not None else None
    if devices is not None and devices > 1:
        drawing = draw_shared(job, given, devices, show_progress=not json)
    else:
        drawing = draw(job, show_progress=not json)
    same = None if original is None else job.pictures[0].path.read_bytes() == original
    if json:
        print_json(as_dict(job, drawing) | ({} if same is None else {"same_bytes": same}))
        return
    print_report(job, drawing)
    if source is not None and same is not None:
        print(verdict(source, job, same))


def _given(options: dict[str, Any]) -> dict[str, Any]:
    """The options that say what to draw, by name, without those that were not given."""
    for name in ("source", "json"):
        del options[name]
    return {name: value for name, value in options.items() if value is not None and value is not False and value != []}
