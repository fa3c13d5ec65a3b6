"""The captions that `flux-emoji` was trained with, drawn without the data folder. No Paddle.

``trained.txt`` holds what captions depend on: names and telling tags of the concepts, and on which colours their
pictures would be hidden. Everything else (articles, colours, held-out pairs) is as in training.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from fastdiffusers.errors import InputError
from fastdiffusers.zoo.emoji.captions import CaptionSampler

TRAINED = Path(__file__).parent / "trained.txt"
_CHANCE = 4
_HEADER = """\
# What captions of the embedded model's training depend on, concept by concept in the order of its data: code points,
# label and after "=" other names, telling tags (CLDR), then each style in which there is a picture, with the grounds on
# which it would be hidden.
# Written by benchmarks/embedded/trained_list.py from the data of `fastdiff data emoji`.
"""


@dataclass
class TrainedIndex:
    """As much of an `EmojiDataset` as captions need; ``index`` tells which tags are telling."""

    entries: list[dict[str, Any]]
    index: list[dict[str, Any]]


def draw_captions(count: int, seed: int, concepts: Sequence[str] | None = None, coloured: float = 0.5) -> list[str]:
    """Captions as in training: a picture by chance, then a caption for it; the same for the same ``seed``.

    ``concepts`` are the labels of a model's card (None: all); ``coloured`` is the share of coloured grounds.
    """
    from fastdiffusers.zoo.pretrain.captions import CaptionSource

    index = trained_index()
    if concepts is not None:
        unknown = sorted({*concepts} - {entry["label"] for entry in index.entries})
        if unknown:
            raise InputError(f"concept {unknown[0]!r} is not in {TRAINED.name}; the model was trained with other data")
        index = TrainedIndex([entry for entry in index.entries if entry["label"] in {*concepts}], index.index)
    rng = np.random.default_rng([seed, _CHANCE])
    rows = rng.integers(len(index.entries), size=count)
    return [caption.text for caption in CaptionSource(index, coloured).draw(rows, rng)]


@cache
def trained_index() -> TrainedIndex:
    """What ``trained.txt`` says: an entry a picture, in the order of the data."""
    entries = []
    for line in TRAINED.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            hexcode, names, tags, styles = (part.strip() for part in line.split("|"))
            label, _, aliases = names.partition(" = ")
            for style, *clashes in map(str.split, styles.split(";")):
                entries.append(
                    {
                        "hexcode": hexcode,
                        "label": label,
                        "aliases": _words(aliases),
                        "tags": _words(tags),
                        "style": style,
                        "clashes": clashes,
                    }
                )
    return TrainedIndex(entries, entries)


def trained_lines(index: Iterable[dict[str, Any]]) -> str:
    """The content of ``trained.txt`` for the index lines of a data folder."""
    index = list(index)
    sampler = CaptionSampler("varied", index)
    concepts: dict[str, list[dict[str, Any]]] = {}
    for entry in index:
        if entry["core"] and entry["split"] == "train":
            concepts.setdefault(entry["hexcode"], []).append(entry)
    lines = []
    for hexcode, entries in concepts.items():
        tags = ", ".join(sampler.telling_tags(entries[0]))
        styles = "; ".join(" ".join([entry["style"], *entry["clashes"]]) for entry in entries)
        names = " = ".join(filter(None, [entries[0]["label"], ", ".join(entries[0]["aliases"])]))
        lines.append(f"{hexcode} | {names} | {tags} | {styles}\n")
    return _HEADER + "".join(lines)


def _words(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]
