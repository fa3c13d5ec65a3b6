"""``fastdiff distill``: trains an adapter with which the model needs few steps."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fastdiffusers_cli.failure import Interrupted

if TYPE_CHECKING:
    from fastdiffusers.distillation.keys import DistillConfig
    from fastdiffusers.distillation.method import DistillerSpec


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("distill")(distill)


def distill(
    method: Annotated[
        str,
        typer.Argument(help="flux-lightning, pcm, lcm, dmd2, or another installed method; or import-args, or curves."),
    ],
    keys: Annotated[
        list[str] | None, typer.Argument(metavar="KEY=VALUE…", help="Recipe keys, as in phases=2 steps=1000.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="The teacher.  [default: flux-emoji]")] = None,
    data: Annotated[
        str | None, typer.Option(help="teacher: it draws its own; or a folder, a CSV file, a file list.")
    ] = None,
    recipe: Annotated[str | None, typer.Option(help="A YAML file, or the name of a shipped recipe.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder to write; by default where --accel finds it.")] = None,
    resume: Annotated[str, typer.Option(help="auto: go on from the newest checkpoint; never: begin anew.")] = "auto",
    threads: Annotated[int | None, typer.Option(help="CPU threads of each worker process; by default 1.")] = None,
    devices: Annotated[
        int | None, typer.Option(help="Processes that share each batch, one for each GPU; any number on a CPU.", min=1)
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check and show everything, train nothing.")] = False,
    json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout at the end.")] = False,
) -> None:
    """Distil a model to few steps.

    Without options: the embedded model, pictures that it draws itself, the method's shipped recipe; afterwards
    `fastdiff infer --accel NAME` uses the adapter. A killed or interrupted training goes on with the same command.
    `fastdiff distill import-args 'COMMAND'` prints the recipe of a PaddleMIX training command; `fastdiff distill
    curves FOLDER… [--out curves.png]` shows how trainings went.
    """
    from fastdiffusers.environment import prepare
    from fastdiffusers.errors import InputError, one_of
    from fastdiffusers.plugins import registry

    if method in ("import-args", "curves"):
        given = {"model": model, "data": data, "recipe": recipe, "threads": threads, "devices": devices}
        unused = [name for name, value in given.items() if value is not None]
        unused += [name for name, told in (("resume", resume != "auto"), ("dry-run", dry_run)) if told]
        if unused:
            raise InputError(f"--{unused[0]} has no effect on {method}; valid: --out, --json")
    if method == "import-args":
        from fastdiffusers_cli.distill_import import import_args

        import_args(list(keys or []), out, json)
        return
    if method == "curves":
        from fastdiffusers_cli.distill_curves import curves

        curves(list(keys or []), out, json)
        return
    methods = registry().distillers
    if method not in methods:
        raise InputError(one_of("method", method, methods))
    if resume not in ("auto", "never"):
        raise InputError(one_of("value of --resume:", resume, ("auto", "never")))
    words = _words(list(keys or []), {"model": model, "data": data})
    # one thread a process: several workers (recipe key `workers`) use the cores better than several threads do
    prepare(1 if threads is None and "paddle" not in sys.modules else threads)
    config = _config(methods[method], recipe, words)
    folder = out or _folder(method, config)
    if dry_run:
        figures = _describe(config, folder)
    else:
        figures = _train(methods[method], config, folder, resume, out is None, devices)
    if json:
        from fastdiffusers_cli.output import print_json

        print_json({"method": method, **figures})
        return
    for name, value in figures.items():
        if not isinstance(value, dict | list):
            print(f"{name}: {value:.4g}" if isinstance(value, float) else f"{name}: {value}")


def _words(keys: list[str], options: dict[str, str | None]) -> list[str]:
    """Recipe keys with the ones that are options too; said twice, and the method's own name, are refused."""
    from fastdiffusers.errors import InputError

    given = {word.partition("=")[0].strip() for word in keys}
    if "method" in given:
        raise InputError("recipe key 'method' is the first word of the command, and no key here")
    for name, value in options.items():
        if value is not None and name in given:
            raise InputError(f"--{name} and the recipe key {name}= are the same; give one of them")
    return keys + [f"{name}={value}" for name, value in options.items() if value is not None]


def _config(spec: DistillerSpec, recipe: str | None, words: list[str]) -> DistillConfig:
    from fastdiffusers.distillation.keys import DistillConfig, check_given
    from fastdiffusers.training.recipe import load_recipe

    name = next((word.partition("=")[2] for word in reversed(words) if word.startswith("model=")), "flux-emoji")
    file = spec.recipe(recipe, name)
    config = load_recipe(DistillConfig, file, [f"method={spec.name}", *words])
    check_given((word.partition("=")[0].strip() for word in words), config)
    return config


def _folder(method: str, config: DistillConfig) -> Path:
    from fastdiffusers.distillation.adapter import own_folder
    from fastdiffusers.models.info import describe

    info = describe(config.model)
    return own_folder(info.name, info.sha256, method, config.drawn_steps)


def _describe(config: DistillConfig, folder: Path) -> dict[str, Any]:
    """What a dry run shows. The networks are built, but no examples are prepared."""
    from fastdiffusers.distillation.dry_run import describe_distillation
    from fastdiffusers.training.recipe import config_to_dict

    lines, figures = describe_distillation(config)
    for line in lines:
        print(line, file=sys.stderr)
    recipe = config_to_dict(config)
    for name, value in recipe.items():
        print(f"  {name} = {value}", file=sys.stderr)
    return {**figures, "out": str(folder), "recipe": recipe}


def _train(
    spec: DistillerSpec, config: DistillConfig, folder: Path, resume: str, found: bool, devices: int | None
) -> dict[str, Any]:
    """Figures of the result; ``found`` says that ``--accel`` finds the folder by itself."""
    from fastdiffusers.training import trainer
    from fastdiffusers.training.launch import train
    from fastdiffusers.zoo import DEFAULT
    from fastdiffusers_cli.pretrain import without_resume

    try:
        figures = train(spec.target, config, folder, resume, devices)
    except trainer.Interrupted as stopped:
        raise Interrupted(f"{stopped}: {shlex.join(['fastdiff', *without_resume(sys.argv[1:])])}") from None
    figures["out"] = str(folder)
    if config.train == "lora":
        which = f"steps={config.drawn_steps}" if found else f"adapter={folder}"
        words = ["fastdiff", "infer", "--accel", f"{spec.accelerator}:{which}"]
        figures["use"] = shlex.join(words if config.model == DEFAULT else [*words, "--model", config.model])
    return figures
