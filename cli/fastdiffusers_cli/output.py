"""What commands print: JSON alone on stdout, or tables that stay whole on a terminal and in a pipe; notes on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any


def print_json(content: Mapping[str, Any]) -> None:
    """One object on stdout."""
    print(json.dumps(content, indent=2, ensure_ascii=False, default=str))


def print_note(text: str) -> None:
    """Something the user should know and need not mend, as one line on stderr."""
    print(f"note: {' '.join(text.split())}", file=sys.stderr)


def print_table(
    columns: Sequence[str], rows: Sequence[Sequence[Any]], wrap: Sequence[str] = (), right: Sequence[str] = ()
) -> None:
    """A table on stdout. Columns named in ``wrap`` are broken between words where needed; nothing is ever cut off."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for name in columns:
        table.add_column(name, justify="right" if name in right else "left", no_wrap=name not in wrap, overflow="fold")
    for row in rows:
        table.add_row(*(Text(_shown(cell)) for cell in row))
    _print(table)


def print_pairs(pairs: Sequence[tuple[str, Any]]) -> None:
    """Names and values, one pair a line, values aligned and wrapped."""
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in pairs:
        grid.add_row(Text(name), Text(_shown(value)))
    _print(grid)


def options_in_words(options: Mapping[str, Any]) -> str:
    """Options as they are written after an accelerator's name: ``threshold=0.4:force=false``."""
    from fastdiffusers.request import Request, format_requests

    return format_requests([Request("", options)]).removeprefix(":")


def _print(renderable: Any) -> None:
    from rich.console import Console

    console = Console(highlight=False, markup=False)
    with console.capture() as capture:
        console.print(renderable)
    print("\n".join(line.rstrip() for line in capture.get().rstrip("\n").split("\n")))


def _shown(cell: Any) -> str:
    if cell is None:
        return "–"
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    if isinstance(cell, Mapping):
        return ", ".join(f"{key}={value}" for key, value in cell.items()) or "–"
    if isinstance(cell, list | tuple | set | frozenset):
        items = sorted(cell) if isinstance(cell, set | frozenset) else cell
        return ", ".join(str(item) for item in items) or "–"
    return str(cell) if str(cell) else "–"
