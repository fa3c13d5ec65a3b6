"""``fastdiff data``: builds the pictures and captions that the embedded model is trained on."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

DATA_SETS = ("emoji",)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("data")(data)


def data(
    name: Annotated[str, typer.Argument(help="The data set: emoji.")] = "emoji",
    out: Annotated[Path | None, typer.Option(help="Folder to write; by default in the cache.")] = None,
    size: Annotated[int, typer.Option(help="Side of the square pictures in pixels.")] = 128,
    json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Build a data set: fetch pinned packages, draw their pictures, write them with captions and licences.

    The result is the same every time; a folder of that name is replaced as a whole.
    """
    from fastdiffusers.errors import InputError, one_of
    from fastdiffusers.zoo.emoji import build, default_folder
    from fastdiffusers_cli.output import print_json

    if name not in DATA_SETS:
        raise InputError(one_of("data set", name, DATA_SETS))
    folder = out or default_folder(size)
    card = build(folder, size, progress=_say)
    if json:
        print_json({"folder": str(folder), **card.to_dict()})
        return
    counts = card.counts
    print(f"{counts['pictures']} pictures of {counts['concepts']} concepts at {size}x{size} px in {folder}")
    for source in card.sources:
        what = source["style"] or "captions"
        print(f"  {what}: {source['package']} {source['version']}, {source['licence']}")
    print("next: fastdiff pretrain vae")


def _say(what: str, done: int, total: int, *_: Any) -> None:
    """Progress on stderr, rewritten in place on a terminal, in quarters elsewhere."""
    if sys.stderr.isatty():
        print(f"\r{what} {done}/{total}", end="\n" if done >= total else "", file=sys.stderr, flush=True)
    elif total and done * 4 // total != (done - 1) * 4 // total:
        print(f"{what} {done}/{total}", file=sys.stderr)
