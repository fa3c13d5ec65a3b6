"""``fastdiff pretrain``: trains the parts of the embedded model and puts them together."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fastdiffusers_cli.failure import Interrupted

if TYPE_CHECKING:
    from fastdiffusers.training.recipe import TrainerConfig

ASSEMBLE = "assemble"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("pretrain")(pretrain)


def pretrain(
    stage: Annotated[
        str, typer.Argument(help="vae, text, flux, guidance, in this order; then assemble. And scorer, their judge.")
    ],
    keys: Annotated[
        list[str] | None, typer.Argument(metavar="KEY=VALUE…", help="Recipe keys, as in steps=100.")
    ] = None,
    recipe: Annotated[str | None, typer.Option(help="A YAML file, or the name of a shipped recipe.")] = None,
    data: Annotated[Path | None, typer.Option(help="Folder that `fastdiff data emoji` wrote.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder to write; by default in the cache.")] = None,
    resume: Annotated[str, typer.Option(help="auto: go on from the newest checkpoint; never: begin anew.")] = "auto",
    threads: Annotated[int | None, typer.Option(help="CPU threads of each worker process; by default 1.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check and show everything, train nothing.")] = False,
    json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout at the end.")] = False,
) -> None:
    """Train one part of the embedded model `flux-emoji`, or assemble it from the trained parts.

    A killed or interrupted training goes on with the same command. Sample grids, log.jsonl and checkpoints are in the
    output folder.
    """
    from fastdiffusers.environment import prepare
    from fastdiffusers.errors import InputError, one_of
    from fastdiffusers.zoo.pretrain import TASKS
    from fastdiffusers.zoo.pretrain.places import stage_folder

    if stage not in (*TASKS, ASSEMBLE):
        raise InputError(one_of("stage", stage, (*TASKS, ASSEMBLE)))
    if resume not in ("auto", "never"):
        raise InputError(one_of("value of --resume:", resume, ("auto", "never")))
    # One thread a process: several workers (recipe key `workers`) use the cores better than several threads do.
    prepare(1 if threads is None and "paddle" not in sys.modules else threads)
    words = list(keys or [])
    if stage == ASSEMBLE:
        if recipe is not None or data is not None:
            raise InputError("assemble takes no --recipe and no --data; valid are --out and key=value words")
        figures = _assemble(words, out, dry_run)
    else:
        if data is not None:
            words.append(f"data={data}")
        config = _recipe(stage, recipe, words)
        folder = out or stage_folder("", stage)
        figures = _describe(stage, config, folder) if dry_run else _train(stage, config, folder, resume)
    if json:
        from fastdiffusers_cli.output import print_json

        print_json({"stage": stage, **figures})
    else:
        for name, value in figures.items():
            if not isinstance(value, dict | list):
                print(f"{name}: {value:.4g}" if isinstance(value, float) else f"{name}: {value}")


def _recipe(stage: str, recipe: str | None, words: list[str]) -> TrainerConfig:
    from fastdiffusers.training.launch import load_task
    from fastdiffusers.training.recipe import load_recipe
    from fastdiffusers.zoo.pretrain import TASKS
    from fastdiffusers.zoo.pretrain.places import recipe_file

    return load_recipe(load_task(TASKS[stage]).Config, recipe_file(recipe or stage), words)


def _describe(stage: str, config: TrainerConfig, folder: Path) -> dict[str, Any]:
    """What a dry run shows; the networks are built, so a missing earlier stage or bad size is found here."""
    from fastdiffusers.training.launch import build
    from fastdiffusers.training.recipe import config_to_dict
    from fastdiffusers.zoo.pretrain import TASKS

    recipe = config_to_dict(config)
    task, groups = build(TASKS[stage], recipe)
    trained = sum(value.size for group in groups for value in group.parameters.values())
    by_muon = sum(group.parameters[name].size for group in groups for name in group.muon)
    for line in task.describe():
        print(line, file=sys.stderr)
    for name, value in recipe.items():
        print(f"  {name} = {value}", file=sys.stderr)
    return {
        "trained_parameters": int(trained),
        "by_muon": int(by_muon) if config.muon else 0,
        "samples": config.steps * config.batch,
        "out": str(folder),
        "recipe": recipe,
    }


def _train(stage: str, config: TrainerConfig, folder: Path, resume: str) -> dict[str, Any]:
    from fastdiffusers.training import trainer
    from fastdiffusers.training.launch import train
    from fastdiffusers.zoo.pretrain import TASKS

    try:
        figures = train(TASKS[stage], config, folder, resume)
    except trainer.Interrupted as stopped:
        raise Interrupted(f"{stopped}: {shlex.join(['fastdiff', *without_resume(sys.argv[1:])])}") from None
    return {**figures, "out": str(folder)}


def without_resume(words: Iterable[str]) -> list[str]:
    """The words that were typed less ``--resume`` and its value: a training goes on unless it is told not to."""
    kept, rest = [], iter(words)
    for word in rest:
        if word == "--resume":
            next(rest, None)
        elif not word.startswith("--resume="):
            kept.append(word)
    return kept


def _assemble(words: list[str], out: Path | None, dry_run: bool) -> dict[str, Any]:
    from fastdiffusers.zoo.pretrain.assemble import AssembleConfig, assemble
    from fastdiffusers.zoo.pretrain.places import stage_folder

    options = AssembleConfig.from_words(words)
    folder = out or stage_folder("", "flux-emoji")
    return assemble(options, folder, dry_run)
