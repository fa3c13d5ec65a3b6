"""Blind comparison sheets: a row a prompt, the methods' pictures in an order of its own; the key is kept apart.

And the grid that is not blind: a row a method, the same captions and noise in each column.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from fastdiffusers.errors import InputError
from fastdiffusers.files import atomic_write

LETTERS = "ABCDE"
ROWS = 8
MARGIN, LINE, GAP = 12, 16, 4
HEAD = 2 * LINE


def key_file(folder: Path) -> Path:
    """Where the key of the sheets in ``folder`` is: beside it, so that judges can be given the folder."""
    folder = folder.resolve()
    return folder.with_name(f"{folder.name}-key.json")


def write_sheets(
    folder: Path, pictures: Mapping[str, np.ndarray], prompts: Sequence[str], seed: int = 0, enlarge: int = 1
) -> list[Path]:
    """Write ``sheet-1.png`` … into ``folder`` and the key into `key_file`; returns the sheets.

    ``pictures``: by method uint8 ``[N, H, W, 3]``, picture i of each for ``prompts[i]``. The order of the columns is
    shuffled for every row; the key tells which letter is which method there.
    """
    methods = list(pictures)
    if not 2 <= len(methods) <= len(LETTERS):
        raise InputError(f"{len(methods)} methods to compare; valid are 2 to {len(LETTERS)}")
    for method, own in pictures.items():
        if len(own) != len(prompts):
            raise InputError(f"{method!r} has {len(own)} pictures for {len(prompts)} prompts")
    rng = np.random.default_rng(seed)
    orders = [rng.permutation(len(methods)) for _ in prompts]
    key = [
        {"item": i + 1, "prompt": prompt, **{LETTERS[j]: methods[k] for j, k in enumerate(order)}}
        for i, (prompt, order) in enumerate(zip(prompts, orders, strict=True))
    ]
    written = []
    for number, start in enumerate(range(0, len(prompts), ROWS), 1):
        rows = range(start, min(start + ROWS, len(prompts)))
        sheet = _sheet([[pictures[methods[k]][i] for k in orders[i]] for i in rows], rows, prompts, enlarge)
        path = folder / f"sheet-{number}.png"
        with atomic_write(path) as temporary:
            sheet.save(temporary, format="PNG", optimize=True)
        written.append(path)
    for old in folder.glob("sheet-*.png"):
        if old not in written:
            old.unlink()  # of a longer set, whose key is gone
    with atomic_write(key_file(folder)) as temporary:
        temporary.write_text(json.dumps(key, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return written


def write_grid(path: Path, pictures: Mapping[str, np.ndarray]) -> None:
    """Write a PNG with a labelled row for each method: uint8 ``[N, H, W, 3]`` by label, pictures side by side."""
    height, width = next(iter(pictures.values())).shape[1:3]
    columns = max(map(len, pictures.values()))
    size = (MARGIN + columns * (width + GAP), MARGIN + len(pictures) * (LINE + height + GAP))
    sheet = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(sheet)
    for r, (label, row) in enumerate(pictures.items()):
        top = r * (LINE + height + GAP) + GAP
        shown = label.replace("μ", "mu")  # which Pillow's own font lacks
        pen.text((MARGIN, top), _fitting(pen, shown, size[0] - 2 * MARGIN), fill="black")
        for c, picture in enumerate(row):
            sheet.paste(Image.fromarray(picture), (MARGIN + c * (width + GAP), top + LINE))
    with atomic_write(path) as temporary:
        sheet.save(temporary, format="PNG", optimize=True)


def _sheet(rows: list[list[np.ndarray]], numbers: range, prompts: Sequence[str], enlarge: int) -> Image.Image:
    height, width = (side * enlarge for side in rows[0][0].shape[:2])
    columns = len(rows[0])
    size = (MARGIN + columns * (width + MARGIN), MARGIN + len(rows) * (height + HEAD + MARGIN))
    sheet = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(sheet)
    for r, (row, number) in enumerate(zip(rows, numbers, strict=True)):
        top = MARGIN + r * (height + HEAD + MARGIN)
        pen.text((MARGIN, top), _fitting(pen, f"{number + 1}  {prompts[number]}", size[0] - 2 * MARGIN), fill="black")
        for c, picture in enumerate(row):
            left = MARGIN + c * (width + MARGIN)
            pen.text((left, top + LINE), LETTERS[c], fill="black")
            image = Image.fromarray(picture).resize((width, height), Image.Resampling.LANCZOS)
            sheet.paste(image, (left, top + HEAD))
            pen.rectangle((left - 1, top + HEAD - 1, left + width, top + HEAD + height), outline="#cccccc")
    return sheet


def _fitting(pen: ImageDraw.ImageDraw, text: str, width: int) -> str:
    """``text`` on one line, cut to ``width`` pixels; what the font cannot show becomes a question mark."""
    line = " ".join(text.split()).encode("latin-1", "replace").decode("latin-1")
    if pen.textlength(line) <= width:
        return line
    while line and pen.textlength(line + "...") > width:
        line = line[:-1]
    return line + "..."
