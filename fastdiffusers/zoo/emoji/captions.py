"""Captions for emoji pictures: the label, other names, articles, style words, background colours."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastdiffusers.errors import InputError, one_of
from fastdiffusers.zoo.emoji.articles import with_article

Entry = Mapping[str, Any]

MODES = ("plain", "varied")
STYLES = ("noto", "fluent", "twemoji")
PALETTE: dict[str, tuple[int, int, int]] = {
    "red": (228, 88, 88),
    "orange": (248, 164, 76),
    "yellow": (252, 224, 104),
    "green": (116, 196, 118),
    "blue": (92, 156, 236),
    "purple": (160, 116, 216),
    "pink": (248, 176, 208),
    "black": (36, 36, 40),
}
"""Background colours by name, sRGB. Saturated enough to be named, apart from the outlines of most pictures."""
WHITE = (255, 255, 255)
_CLASH_DISTANCE = 55.0  # Euclidean, in 8-bit RGB
HELD_OUT_PAIR_PART = 10
"""One pair of concept and background colour in so many is never trained on."""

_LEADS = ("a picture of", "a drawing of", "an emoji of")
# What CLIP's tokenizer treats as one piece before it merges bytes.
_PIECE = re.compile(r"'s|'t|'re|'ve|'m|'ll|'d|[a-z]+|[0-9]|[^\sa-z0-9]+")


@dataclass(frozen=True)
class Caption:
    """A caption and what it goes with.

    ``background`` is a name of `PALETTE` that the picture must be given, None for white; it may be present without
    being mentioned. ``style_mentioned`` and ``background_mentioned`` say whether the text names the drawing style and
    the background (white too).
    """

    text: str
    background: str | None
    style_mentioned: bool
    background_mentioned: bool = False


class CaptionSampler:
    """Draws captions for index entries.

    ``mode="plain"``: label mostly, sometimes another name or a telling tag, with article variants and now and then the
    style. ``mode="varied"``: additionally a background colour that does not hide the picture, present with
    ``background_probability`` and mentioned in ``mention_probability`` of those cases; a white one is mentioned with
    ``white_probability``. Pairs of concept and colour that `held_out_pair` names are left out unless ``all_pairs``.
    ``index`` (all entries) tells which tags are telling, those of at most two concepts; without it none is used.
    """

    def __init__(
        self,
        mode: str = "plain",
        index: Iterable[Entry] = (),
        *,
        style_probability: float = 0.2,
        background_probability: float = 0.6,
        mention_probability: float = 0.5,
        white_probability: float = 0.15,
        all_pairs: bool = False,
    ):
        if mode not in MODES:
            raise InputError(one_of("caption mode", mode, MODES))
        for name, value in (
            ("style_probability", style_probability),
            ("background_probability", background_probability),
            ("mention_probability", mention_probability),
            ("white_probability", white_probability),
        ):
            if not 0 <= value <= 1:
                raise InputError(f"{name} is {value}; valid are 0 to 1")
        self.mode = mode
        self.style_probability = style_probability
        self.background_probability = background_probability
        self.mention_probability = mention_probability
        self.white_probability = white_probability
        self.all_pairs = all_pairs
        concepts = {entry["hexcode"]: entry for entry in index}
        self._tag_counts = Counter(tag for entry in concepts.values() for tag in entry["tags"])
        self._names = {entry["label"] for entry in concepts.values()}
        self._names.update(alias for entry in concepts.values() for alias in entry["aliases"])

    def telling_tags(self, entry: Entry) -> list[str]:
        """Tags that may stand for the concept alone: of at most two concepts, no other name, no word of the label."""
        words = set(entry["label"].split())
        return [
            tag
            for tag in entry["tags"]
            if 0 < self._tag_counts[tag] <= 2 and tag not in self._names and tag not in words
        ]

    def sample(self, rng: np.random.Generator, entry: Entry) -> Caption:
        """One caption for one index line. The same generator state gives the same caption."""
        text = self._subject(rng, entry)
        style_mentioned = bool(rng.random() < self.style_probability)
        background, colour_words = self._background(rng, entry)
        if style_mentioned and rng.random() < 0.5:
            text = f"{text}, {entry['style']} style{colour_words}"
        elif style_mentioned:
            text = f"{text}{colour_words}, {entry['style']} style"
        else:
            text += colour_words
        return Caption(text, background, style_mentioned, bool(colour_words))

    def _subject(self, rng: np.random.Generator, entry: Entry) -> str:
        name, draw = entry["label"], rng.random()
        aliases, tags = entry["aliases"], self.telling_tags(entry)
        if aliases and draw < 0.4:
            name = aliases[rng.integers(len(aliases))]
        elif tags and draw > 0.95:
            return tags[rng.integers(len(tags))]  # often a verb or adjective: no article
        draw = rng.random()
        if draw < 0.5:
            return name
        if draw < 0.9:
            return with_article(name)
        return f"{_LEADS[rng.integers(len(_LEADS))]} {with_article(name)}"

    def colours(self, entry: Entry) -> list[str]:
        """The background colours that a picture may be given."""
        visible = [name for name in PALETTE if name not in entry["clashes"]] or list(PALETTE)
        if self.all_pairs:
            return visible
        return [name for name in visible if not held_out_pair(entry["hexcode"], name)] or visible

    def _background(self, rng: np.random.Generator, entry: Entry) -> tuple[str | None, str]:
        if self.mode == "plain":
            return None, ""
        if rng.random() >= self.background_probability:
            return None, " on a white background" if rng.random() < self.white_probability else ""
        colours = self.colours(entry)
        colour = colours[rng.integers(len(colours))]
        if rng.random() >= self.mention_probability:
            return colour, ""
        return colour, f" on {with_article(colour)} background"


def held_out_pair(hexcode: str, colour: str) -> bool:
    """Whether a concept is never trained on a background of this colour: one pair in ten, chosen by hash.

    White is no such colour. The pairs tell whether a model composes what it was only shown apart.
    """
    digest = hashlib.sha256(f"{hexcode.upper()} on {colour}".encode("ascii")).digest()
    return colour in PALETTE and int.from_bytes(digest[:8], "big") % HELD_OUT_PAIR_PART == 0


def clashing_colours(picture: np.ndarray) -> list[str]:
    """Names of the backgrounds on which most of a picture (uint8 [H, W, 4], straight alpha) could not be seen."""
    seen = picture[picture[..., 3] > 127][:, :3].astype(np.float32)
    if not len(seen):
        return []
    return [
        name
        for name, colour in PALETTE.items()
        if np.mean(np.linalg.norm(seen - np.asarray(colour, dtype=np.float32), axis=1) < _CLASH_DISTANCE) > 0.5
    ]


def background_colour(name: str | None) -> tuple[int, int, int]:
    """RGB of a `PALETTE` name; None and ``"white"`` are white."""
    if name is None or name == "white":
        return WHITE
    if name not in PALETTE:
        raise InputError(one_of("background colour", name, [*PALETTE, "white"]))
    return PALETTE[name]


def pieces(text: str) -> list[str]:
    """The word pieces a tokenizer sees in `text` (lower-cased) before byte-pair merging."""
    return _PIECE.findall(text.lower())


def vocabulary(index: Iterable[Entry]) -> list[str]:
    """Every word piece that captions over `index` can hold (labels, names, tags, articles, styles, colours), sorted."""
    texts: list[str] = [*_LEADS, "a an the", ", style on a white background", *PALETTE, *STYLES]
    for entry in index:
        texts += [entry["label"], entry["style"], *entry["tags"], *entry["aliases"]]
    return sorted({piece for text in texts for piece in pieces(text)})
