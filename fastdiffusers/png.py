"""Pictures that remember how they were made: a PNG with its record inside.

The record (plan, prompt, seed, settings) travels in an iTXt chunk (PNG specification, third edition, section 11.3.3.4)
under the keyword ``fastdiffusers``, as JSON with sorted keys; any PNG viewer shows the picture and ignores it.
"""

from __future__ import annotations

import json
import math
import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from fastdiffusers.errors import InputError
from fastdiffusers.files import atomic_write

KEYWORD = "fastdiffusers"
FORMAT = 1  # raised when an older program would misread the record

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_MAX_TEXT = 16 << 20  # bytes of a record once decompressed; ours have a few thousand


def write_png(path: str | os.PathLike[str], image: Image.Image, record: dict[str, Any]) -> None:
    """Write ``image`` with ``record`` inside, whole or not at all; an older file of that name is replaced.

    The same picture and record give the same bytes with the same Pillow: compression is fixed and nothing else (date,
    colour profile, what the image carried before) goes in. ``format`` is our own key; everything else is the caller's.
    Raises `InputError` for a record that is not JSON (NaN is not) and for a place that cannot be written.
    """
    if "format" in record:
        raise InputError(f"a picture's record cannot have a key 'format' (here {record['format']!r}); it is reserved")
    try:
        text = json.dumps(
            {"format": FORMAT, **record}, sort_keys=True, ensure_ascii=False, allow_nan=False, separators=(",", ":")
        )
        text.encode("utf-8")
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(f"a picture's record cannot be written as JSON: {_one_line(error)}") from error
    plain = image.copy() if image.mode in ("L", "RGB", "RGBA") else image.convert("RGB")
    plain.info = {}
    chunk = PngInfo()
    chunk.add_itxt(KEYWORD, text)
    with atomic_write(path) as temporary:
        plain.save(temporary, format="PNG", pnginfo=chunk, compress_level=6, optimize=False)


def read_record(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The record that `write_png` put into the picture at ``path``.

    Raises `InputError`, in one line with the path, if the file cannot be read, is no PNG, is damaged, has no record
    (another program's picture, or one that was saved again), or has a record we cannot read.
    """
    name = repr(str(path))
    for kind, content in _chunks(path, name):
        keyword, separator, rest = content.partition(b"\0")
        if kind == b"iTXt" and separator and keyword == KEYWORD.encode():
            return _parse(_text(rest, name), name)
    raise InputError(f"{name} has no record inside: another program made it, or saved it again without the record")


def grid(images: Sequence[Image.Image], columns: int | None = None, pad: int = 2) -> Image.Image:
    """One RGB picture of all ``images``, row by row, ``pad`` white pixels between them.

    They must have one size. ``columns`` is by default that of the squarest grid, ⌈√n⌉; more than n are cut to n.
    """
    if not images:
        raise InputError("a grid of no pictures was asked for; it needs at least one")
    if columns is None:
        columns = math.ceil(math.sqrt(len(images)))
    if columns < 1 or pad < 0:
        raise InputError(f"a grid of {columns} columns with {pad} pixels between is not valid; at least 1 and 0 are")
    sizes = sorted({image.size for image in images})
    if len(sizes) > 1:
        shown = ", ".join(f"{width} × {height}" for width, height in sizes)
        raise InputError(f"a grid needs pictures of one size, not {shown}")
    columns = min(columns, len(images))
    rows = math.ceil(len(images) / columns)
    width, height = sizes[0]
    canvas = Image.new("RGB", (columns * (width + pad) - pad, rows * (height + pad) - pad), "white")
    for i, image in enumerate(images):
        row, column = divmod(i, columns)
        canvas.paste(image.convert("RGB"), (column * (width + pad), row * (height + pad)))
    return canvas


def _chunks(path: str | os.PathLike[str], name: str) -> Iterator[tuple[bytes, bytes]]:
    """Type and content of every chunk up to the end mark, checked against its CRC; the pixels are not decoded."""
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {name}: {error.strerror or error}") from error
    if not data.startswith(_SIGNATURE):
        raise InputError(f"{name} is not a PNG file")
    at = len(_SIGNATURE)
    while True:
        if len(data) < at + 12:
            raise InputError(f"{name} is cut off after {len(data)} bytes")
        length, kind = struct.unpack_from(">I4s", data, at)
        end = at + 12 + length
        if len(data) < end:
            raise InputError(f"{name} is cut off after {len(data)} bytes")
        content = data[at + 8 : end - 4]
        if zlib.crc32(kind + content) != struct.unpack_from(">I", data, end - 4)[0]:
            raise InputError(f"{name} is damaged: a checksum is wrong at byte {at}")
        yield kind, content
        if kind == b"IEND":
            return
        at = end


def _text(rest: bytes, name: str) -> str:
    """The text of an iTXt chunk after its keyword: two flag bytes, language, translated keyword, text."""
    try:
        compressed, (_, _, content) = rest[0], rest[2:].split(b"\0", 2)
        if compressed:
            inflater = zlib.decompressobj()
            content = inflater.decompress(content, _MAX_TEXT)
            if not inflater.eof:
                raise ValueError("compressed text is cut off or too long")
        return content.decode("utf-8")
    except (IndexError, ValueError, zlib.error) as error:
        raise InputError(f"the record in {name} is broken: {_one_line(error)}") from error


def _parse(text: str, name: str) -> dict[str, Any]:
    try:
        record = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise InputError(f"the record in {name} is not valid JSON: {_one_line(error)}") from error
    version = record.pop("format", None) if isinstance(record, dict) else None
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise InputError(f"the record in {name} is not one of ours: it has no format number")
    if version > FORMAT:
        raise InputError(
            f"the record in {name} has format {version}, this version of fastdiffusers reads up to {FORMAT}; update it"
        )
    return record


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())
