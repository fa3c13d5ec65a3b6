"""``fastdiff adapter``: the distilled adapters there are, and one of them as other programs read it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fastdiffusers_cli.output import print_json, print_note, print_table

if TYPE_CHECKING:
    from fastdiffusers.distillation.adapter import AdapterCard
    from fastdiffusers.distillation.exporting import Source
    from fastdiffusers.distillation.listing import Listed
    from fastdiffusers.models.info import ModelInfo

Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]


def register(app: typer.Typer) -> None:
    """Add the group with its commands."""
    group = typer.Typer(rich_markup_mode=None)
    group.callback(invoke_without_command=True)(adapter)
    group.command("list")(list_all)
    group.command("ls", hidden=True)(list_all)
    group.command("export")(export)
    app.add_typer(group, name="adapter")


def adapter(context: typer.Context) -> None:
    """List distilled adapters, or export one. Without a command it lists them."""
    if context.invoked_subcommand is None:
        list_all(json=False)


def list_all(json: Json = False) -> None:
    """List the adapters: trained here (own) and shipped.

    use: what to give to --accel. metrics: measured when it was made, on the latents of a few pictures: distance to the
    teacher's (plain: of the teacher in as few steps), diversity relative to the teacher's; --json has all of them.
    """
    from fastdiffusers.distillation.listing import list_adapters, usage
    from fastdiffusers.plugins import registry

    adapters = list_adapters()
    words = usage(adapters, {spec.name: spec.accelerator for spec in registry().distillers.values()})
    if json:
        print_json({"adapters": [_as_dict(item, words.get(item.folder)) for item in adapters]})
        return
    if not adapters:
        print("there are no adapters yet; `fastdiff distill flux-lightning` trains one")
        return
    rows = [
        [item.name, item.card.steps, item.card.base, item.source, words.get(item.folder), _figures(item.card.metrics)]
        for item in adapters
        if item.card is not None
    ]
    print_table(["name", "steps", "base", "from", "use", "metrics"], rows, wrap=["use", "metrics"], right=["steps"])
    for item in adapters:
        if item.problem:
            print_note(f"{item.name} cannot be used: {item.problem}")


def export(
    name: Annotated[str, typer.Argument(metavar="ADAPTER", help="A name from the list, a folder, or a LoRA file.")],
    form: Annotated[
        str, typer.Option("--format", help="kohya: for ComfyUI and kohya's scripts; or diffusers.")
    ] = "kohya",
    out: Annotated[
        Path | None, typer.Option(help="The .safetensors file to write.  [default: ADAPTER-FORMAT.safetensors]")
    ] = None,
    model: Annotated[str | None, typer.Option(help="The model it belongs to.  [default: the adapter's own]")] = None,
    dtype: Annotated[str, typer.Option(help="float16, bfloat16 or float32.")] = "float16",
    json: Json = False,
) -> None:
    """Write an adapter as a LoRA file for another program, at the strength 1.

    The file fits the model that the adapter was made for, and no other.
    """
    from fastdiffusers.distillation.adapter import use_of
    from fastdiffusers.distillation.exporting import FORMATS, export_adapter, open_source
    from fastdiffusers.distillation.listing import find_adapter
    from fastdiffusers.environment import prepare
    from fastdiffusers.errors import InputError, one_of
    from fastdiffusers.models.info import describe
    from fastdiffusers.weights.layout import DTYPES
    from fastdiffusers.zoo import DEFAULT
    from fastdiffusers_cli.asking import choose_model
    from fastdiffusers_cli.places import check_files, shown

    if form not in FORMATS:
        raise InputError(one_of("--format", form, FORMATS))
    if dtype not in DTYPES:
        raise InputError(one_of("dtype", dtype, DTYPES))
    info = None if model is None else describe(choose_model(model, DEFAULT))
    source = open_source(find_adapter(name, None if info is None else info.name))
    info = _checked(source, info or _base(source))
    target = out or Path(f"{_stem(source)}-{form}.safetensors")
    if target.suffix.lower() != ".safetensors":
        raise InputError(f"--out {shown(target)} must end in .safetensors")
    check_files("--out", [target], [source.weights])
    prepare()
    done = export_adapter(source, info, form, target, dtype)
    card = source.card
    report: dict[str, Any] = {
        "out": str(target),
        "format": form,
        "dtype": dtype,
        "adapter": str(source.weights),
        "base": info.name,
        "layers": done.layers,
        "rank": done.rank,
        **use_of(card),
    }
    if json:
        print_json(report)
        return
    print(f"wrote {target}: {done.layers} layers, rank {done.rank}, {form} keys, {dtype}, for {info.name}")
    print(_how(card) if card else f"source: {done.note}")


def _base(source: Source) -> ModelInfo:
    """The model that the adapter's card names, the embedded one for a file without a card."""
    from fastdiffusers.errors import InputError, WeightsError
    from fastdiffusers.models.info import describe
    from fastdiffusers.zoo import DEFAULT

    if source.card is None:
        return describe(DEFAULT)
    try:
        return describe(source.card.base)
    except WeightsError:
        raise InputError(
            f"the adapter belongs to {source.card.base!r}, which is not here; give its folder with --model"
        ) from None


def _checked(source: Source, info: ModelInfo) -> ModelInfo:
    card = source.card
    if card is not None and card.base_sha256 != info.sha256:
        print_note(
            f"the adapter was made for {card.base} ({card.base_sha256[:12]}…), this is {info.name} "
            f"({info.sha256[:12]}…)"
        )
    return info


def _stem(source: Source) -> str:
    return source.weights.stem if source.card is None else source.weights.resolve().parent.name


def _how(card: AdapterCard) -> str:
    from fastdiffusers.counting import counted

    sampler = "Euler" if card.sampler == "euler" else f"the sampler {card.sampler}"
    levels = "" if card.shift is None else f", the scheduler's shift fixed at {card.shift:g}"
    return f"use it at strength 1 with {counted(card.steps, 'step')} of {sampler}, guidance {card.span}{levels}"


def _as_dict(item: Listed, use: str | None) -> dict[str, Any]:
    from dataclasses import asdict

    card = {} if item.card is None else asdict(item.card)
    place = {"name": item.name, "folder": str(item.folder), "source": item.source, "use": use}
    return {**place, "problem": item.problem or None, **card}


def _figures(metrics: Mapping[str, Any]) -> str:
    """The numbers among the metrics, in short; of those of a distillation the two that tell most."""
    numbers = {name: value for name, value in metrics.items() if isinstance(value, int | float)}
    if {"rmse", "teacher_rmse", "diversity"} <= numbers.keys():
        plain = numbers["teacher_rmse"]
        return f"rmse {numbers['rmse']:.2f} (plain {plain:.2f}), diversity {numbers['diversity']:.2f}"
    return ", ".join(f"{name} {value:.4g}" for name, value in numbers.items())
