"""One line of a tab-separated shard of LAION's kind: its caption, its scores, its picture. No Paddle.

Three layouts are in use: caption, nothing, picture; key, captions, …, picture (the sixth column); and key, …, JSON (the
third), …, picture (the sixth). The JSON object and the picture are found by what they are, so that extra columns and
other orders do no harm. Nothing of a line is ever evaluated.
"""

from __future__ import annotations

import ast
import base64
import binascii
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from fastdiffusers.distillation.data.picture import SUFFIXES, read_bytes, read_file
from fastdiffusers.distillation.data.sample import UnreadableSample

CAPTION = ("blip_caption_en", "caption_en", "caption", "prompt", "text", "TEXT")
PICTURE = ("image", "image_path", "file_name", "img", "picture")
SIGNATURES = ("/9j/", "iVBORw0KGgo", "UklGR", "R0lGOD")
"""How JPEG, PNG, WebP and GIF files begin in base64."""
DATA_URI = "data:image/"
SEVERAL = "|"
WIDE = 6
"""Columns from which the first one is a key and the second holds captions, when there is no JSON."""


@dataclass(frozen=True)
class Line:
    """What a line says. ``metadata`` is its JSON object, or empty."""

    caption: str
    metadata: dict[str, Any]
    picture: Callable[[], Image.Image]


def parse_line(text: str, root: Path) -> Line:
    """Read one line; a picture's path is relative to ``root``. `UnreadableSample` says what is wrong."""
    columns = text.rstrip("\r\n").split("\t")
    if len(columns) < 2:
        raise UnreadableSample(f"one column, {_short(text)}; columns are separated by tabs")
    objects = [i for i, column in enumerate(columns) if column.lstrip().startswith("{")]
    metadata = _metadata(columns[objects[0]], objects[0]) if objects else {}
    rest = [i for i in range(len(columns)) if i not in objects]
    named = next((metadata[name] for name in PICTURE if isinstance(metadata.get(name), str)), None)
    place = next((i for i in reversed(rest) if is_picture_column(columns[i])), None)
    if named is None and place is None:
        raise UnreadableSample(f"no column holds a picture (base64, bytes or a path): {_short(text)}")
    content = columns[place] if place is not None else str(named)
    return Line(_caption(columns, metadata, [i for i in rest if i != place]), metadata, lambda: _open(content, root))


def is_picture_column(text: str) -> bool:
    """Whether a column holds a picture: in base64, as a data URI, as Python writes bytes, or by its path."""
    text = text.strip()
    if text.startswith((*SIGNATURES, DATA_URI)) or (text[:2] in ("b'", 'b"') and text[-1] == text[1]):
        return True
    return text.lower().endswith(SUFFIXES) and "://" not in text and len(text) < 4096


def _metadata(text: str, column: int) -> dict[str, Any]:
    try:
        values = json.loads(text)
    except ValueError as error:
        raise UnreadableSample(f"column {column + 1} is no JSON ({error}): {_short(text)}") from None
    if not isinstance(values, dict):
        raise UnreadableSample(f"column {column + 1} is no JSON object: {_short(text)}")
    return values


def _caption(columns: list[str], metadata: dict[str, Any], rest: list[int]) -> str:
    if metadata:
        for name in CAPTION:
            if isinstance(metadata.get(name), str) and metadata[name].strip():
                return " ".join(metadata[name].split())
        raise UnreadableSample(
            f"no caption in the JSON: it has {', '.join(map(str, metadata))[:120]}; {CAPTION[0]} is usual"
        )
    column = rest[1] if len(columns) >= WIDE and len(rest) > 1 else rest[0] if rest else None
    if column is None:
        raise UnreadableSample("no column holds a caption")
    return " ".join(columns[column].replace("\x01", "").split(SEVERAL)[0].split())


def _open(content: str, root: Path) -> Image.Image:
    content = content.strip()
    if content.startswith(DATA_URI):
        content = content.partition(",")[2]
    elif content[:2] in ("b'", 'b"'):
        try:
            value = ast.literal_eval(content)  # reads literals only
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            raise UnreadableSample(f"the picture is no bytes literal: {_short(content)}") from None
        return read_bytes(value) if isinstance(value, bytes) else read_file(root / content)
    elif not content.startswith(SIGNATURES):
        return read_file(root / content)
    try:
        return read_bytes(base64.b64decode(content, validate=True))
    except binascii.Error as error:
        raise UnreadableSample(f"the picture is no base64 ({error}): {_short(content)}") from None


def _short(text: str) -> str:
    text = " ".join(text.split())
    return repr(text if len(text) <= 60 else text[:57] + "...")
