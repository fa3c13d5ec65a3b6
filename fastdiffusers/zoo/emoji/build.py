"""Builds the emoji data folder: fetch, choose, draw, write; the same bytes every time on one machine."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fastdiffusers.errors import InputError
from fastdiffusers.files import atomic_write, cache_dir, refuse_foreign_folder, sha256_file
from fastdiffusers.zoo.emoji.captions import clashing_colours
from fastdiffusers.zoo.emoji.concepts import Concept, select
from fastdiffusers.zoo.emoji.render import check_renderer, render_all, svg_of
from fastdiffusers.zoo.emoji.sources import SOURCES, Source, read_json

FORMAT = 1
_HASHED = ("images.npy", "images.png", "index.jsonl")
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class DataCard:
    """What a data folder holds and where it came from (``card.json``)."""

    name: str
    format: int
    size: int
    counts: dict[str, Any]
    sources: list[dict[str, Any]]
    sha256: dict[str, str]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def default_folder(size: int = 128) -> Path:
    """Where `fastdiff data emoji` writes unless told otherwise."""
    return cache_dir() / "data" / f"emoji-{size}"


def build(
    folder: Path | None = None,
    size: int = 128,
    progress: Progress | None = None,
    sources: Sequence[Source] | None = None,
) -> DataCard:
    """Build the data set in `folder` (replaced as a whole, never half-written) and return its card.

    ``size``: side of the square pictures in pixels. ``progress(what, done, total)`` is called now and then.
    ``sources``: the packages, `SOURCES` by default. Raises `MissingDependency` and `InputError`.
    """
    if not 16 <= size <= 512:
        raise InputError(f"size is {size}; valid are 16 to 512 pixels")
    sources = SOURCES if sources is None else sources
    folder = default_folder(size) if folder is None else Path(folder)
    refuse_foreign_folder(folder, "card.json")
    check_renderer()
    captions = next((source for source in sources if source.style is None), None)
    if captions is None:
        raise InputError("no source holds captions; one of them must have the style None")
    concepts = select(read_json(captions, "en/data.json"), read_json(captions, "en/messages.json"))
    entries, svgs = _entries(concepts, [source for source in sources if source.style is not None])
    if not entries:
        raise InputError("the sources hold no picture of a known concept")

    with atomic_write(folder) as temporary:
        temporary.mkdir()
        images = np.lib.format.open_memmap(
            temporary / "images.npy", mode="w+", dtype=np.uint8, shape=(len(svgs), size, size, 4)
        )
        report = (lambda done: progress("drawing", done, len(svgs))) if progress else None
        for row, picture in enumerate(render_all(svgs, size, done=report)):
            images[row] = picture
            entries[row]["clashes"] = clashing_colours(picture)
        images.flush()
        del images
        write_index(temporary / "index.jsonl", entries)
        card = card_of(temporary, size, entries, sources)
        write_card(temporary / "card.json", card)
    return card


def _entries(concepts: Sequence[Concept], styles: Sequence[Source]) -> tuple[list[dict[str, Any]], list[str]]:
    """Index lines and SVG documents of every picture there is, concept by concept."""
    sets = [(source, read_json(source, "icons.json"), read_json(source, "chars.json")) for source in styles]
    entries: list[dict[str, Any]] = []
    svgs = []
    for concept in concepts:
        code = concept.hexcode.lower()
        for source, icons, names in sets:
            name = names.get(code) or names.get(code.replace("-fe0f", ""))
            if name not in icons["icons"]:
                continue
            entry = {"row": len(entries), "style": source.style, "licence": source.licence, **asdict(concept)}
            entries.append(entry)
            svgs.append(svg_of(icons, name))
    return entries, svgs


def write_index(path: Path, entries: Sequence[dict[str, Any]]) -> None:
    lines = (json.dumps(entry, sort_keys=True, ensure_ascii=True) for entry in entries)
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8", newline="\n")


def write_card(path: Path, card: DataCard) -> None:
    path.write_text(json.dumps(card.to_dict(), indent=2) + "\n", encoding="utf-8", newline="\n")


def card_of(folder: Path, size: int, entries: Sequence[dict[str, Any]], sources: Sequence[Source]) -> DataCard:
    """The card of a folder whose other files are already written."""
    concepts = {entry["hexcode"]: entry for entry in entries}
    return DataCard(
        name="emoji",
        format=FORMAT,
        size=size,
        counts={
            "pictures": len(entries),
            "concepts": len(concepts),
            "core": sum(entry["core"] for entry in concepts.values()),
            "held-out": sum(entry["split"] == "held-out" for entry in concepts.values()),
            "styles": dict(Counter(entry["style"] for entry in entries)),
        },
        sources=[
            {
                "package": source.package,
                "version": source.version,
                "sha256": source.sha256,
                "style": source.style,
                "licence": source.licence,
                "attribution": source.attribution,
            }
            for source in sources
        ],
        sha256={name: sha256_file(folder / name) for name in _HASHED if (folder / name).is_file()},
    )
