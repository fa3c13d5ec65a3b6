"""``fastdiff cache ls|clear``: the compiled programs on disk."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from fastdiffusers_cli.output import print_json, print_table

ACTIONS = ("ls", "clear")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("cache")(cache)


def cache(
    action: Annotated[str, typer.Argument(help="ls: what is kept; clear: throw it away.")] = "ls",
    json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """List what compilers keep on disk (below $FASTDIFFUSERS_HOME), or throw it away.

    The megabytes that may be kept are FASTDIFFUSERS_COMPILED_MB, 4000 unless set; 0 keeps nothing.
    """
    from fastdiffusers.compilation.store import Store
    from fastdiffusers.counting import counted
    from fastdiffusers.errors import InputError, one_of

    if action not in ACTIONS:
        raise InputError(one_of("action", action, ACTIONS))
    store = Store()
    if action == "clear":
        number, size = store.clear()
        if json:
            print_json({"folder": str(store.folder), "removed": number, "bytes": size})
        else:
            print(f"removed {counted(number, 'program')}, {size / 1e6:.1f} MB, from {store.folder}")
        return
    entries = store.entries()
    total = sum(entry.size for entry in entries)
    if json:
        print_json(
            {
                "folder": str(store.folder),
                "limit": store.limit,
                "bytes": total,
                "entries": [entry.to_dict() for entry in entries],
            }
        )
        return
    if entries:
        print_table(
            ["program", "model", "blocks", "inputs", "paddle", "MB", "used"],
            [_row(entry) for entry in entries],
            right=["MB", "used"],
        )
    print(f"{counted(len(entries), 'program')}, {total / 1e6:.1f} of {store.limit / 1e6:.0f} MB, in {store.folder}")


def _row(entry: Any) -> list[str]:
    from fastdiffusers.compilation.store import ago

    key, size = entry.key, f"{entry.size / 1e6:.1f}"
    if not key:
        return [entry.folder.name[:12], "(damaged)", "", "", "", size, ""]
    first, last = key["blocks"]
    shapes = "any size" if key["dynamic"] else "x".join(str(axis) for axis in key["arguments"][0][0][0])
    return [entry.folder.name[:12], key["model"], f"{first}-{last - 1}", shapes, key["paddle"], size, ago(entry.used)]
