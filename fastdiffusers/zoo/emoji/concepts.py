"""Which emoji become concepts, what they are called, which are core, and which are held out.

Kept: what a stranger can name from the picture. Left out: flags, skin tones, clock faces, keycaps, lettered buttons,
arrows, and people, who are mostly near-copies of each other.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

HELD_OUT_PART = 20
"""One concept in so many is held out (5 %)."""

ONE_SIDED = frozenset(
    (
        "check mark",
        "red question mark",
        "musical note",
        "1st place medal",
        "pool 8 ball",
        "ambulance",
        "taxi",
        "police car",
        "calendar",
        "recycling symbol",
        "yin yang",
        "stop sign",
        "no entry",
        "crescent moon",
        "floppy disk",
        "game die",
    )
)
"""Labels whose mirror image would be wrong: signs, letters, and what has one orientation by convention."""

_GROUPS = frozenset({"smileys-emotion", "animals-nature", "food-drink", "travel-places", "activities", "objects"})
_SUBGROUPS_KEPT = frozenset({"body-parts"})


@dataclass(frozen=True)
class Concept:
    """One thing that can be drawn. ``tags`` are CLDR keywords, ``aliases`` are short names chosen by hand."""

    hexcode: str
    label: str
    tags: tuple[str, ...]
    aliases: tuple[str, ...]
    group: str
    subgroup: str
    core: bool
    split: str


def plain_text(text: str) -> str:
    """Lower case, ASCII: ``Piñata`` → ``pinata``, a typographic apostrophe becomes the straight one."""
    text = text.replace("’", "'").replace("“", '"').replace("”", '"').lower()
    return unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode("ascii")


@cache
def core_concepts() -> dict[str, tuple[str, ...]]:
    """The curated labels of ``core.txt``, each with its other names, in file order."""
    return {label: aliases for label, aliases, _ in _core_lines()}


@cache
def iconic_labels() -> frozenset[str]:
    """Core labels that are never held out, because everybody will try them first."""
    return frozenset(label for label, _, iconic in _core_lines() if iconic)


def _core_lines() -> list[tuple[str, tuple[str, ...], bool]]:
    lines = []
    for line in _lines("core.txt"):
        label, _, others = line.removeprefix("*").partition("=")
        aliases = tuple(name.strip() for name in others.split(",") if name.strip())
        lines.append((label.strip(), aliases, line.startswith("*")))
    return lines


def is_kept(label: str, group: str, subgroup: str) -> bool:
    """Whether an emoji (plain label, group and subgroup of emojibase) becomes a concept."""
    exception = _exceptions().get(label)
    if exception is not None:
        return exception
    clock_face = "o'clock" in label or label.endswith("-thirty")
    return (group in _GROUPS or subgroup in _SUBGROUPS_KEPT) and not clock_face


@cache
def _exceptions() -> dict[str, bool]:
    """Labels of ``exceptions.txt``: True for those kept against their group, False for those left out of it."""
    return {line[1:].strip(): line[0] == "+" for line in _lines("exceptions.txt")}


def _lines(name: str) -> list[str]:
    """The lines of a text file of this package, without comments and blank ones."""
    text = resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
    return [line for line in text.splitlines() if line.strip() and not line.startswith("#")]


def split_of(hexcode: str, label: str) -> str:
    """``"held-out"`` for one concept in twenty, chosen by the hash of its code points; else ``"train"``."""
    if label in iconic_labels():
        return "train"
    number = int.from_bytes(hashlib.sha256(hexcode.encode("ascii")).digest()[:8], "big")
    return "held-out" if number % HELD_OUT_PART == 0 else "train"


def select(data: Iterable[dict[str, Any]], messages: dict[str, Any]) -> list[Concept]:
    """The concepts among emojibase's ``en/data.json``, ordered by Unicode's own order.

    ``messages`` is ``en/messages.json``, which names the numbered groups and subgroups.
    """
    groups = {item["order"]: item["key"] for item in messages["groups"]}
    subgroups = {item["order"]: item["key"] for item in messages["subgroups"]}
    core = core_concepts()
    concepts = []
    for item in sorted((item for item in data if "order" in item), key=lambda item: int(item["order"])):
        label = plain_text(item["label"])
        group, subgroup = groups.get(item.get("group"), ""), subgroups.get(item.get("subgroup"), "")
        if not is_kept(label, group, subgroup):
            continue
        tags = dict.fromkeys(plain_text(tag).strip() for tag in item.get("tags", ()))
        hexcode = item["hexcode"].upper()
        concepts.append(
            Concept(
                hexcode=hexcode,
                label=label,
                tags=tuple(tag for tag in tags if tag and tag != label),
                aliases=core.get(label, ()),
                group=group,
                subgroup=subgroup,
                core=label in core,
                split=split_of(hexcode, label),
            )
        )
    return concepts
