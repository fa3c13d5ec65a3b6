"""What the embedded model is asked for, and real renderings of exactly the same.

A caption leaves things open: the style, the ground, which side is left. Real renderings of a caption are drawn from
what the training data shows under it, so that model and data are compared under the same condition.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastdiffusers.errors import InputError
from fastdiffusers.zoo.emoji import PALETTE, Caption, CaptionSampler, EmojiDataset
from fastdiffusers.zoo.emoji.articles import with_article
from fastdiffusers.zoo.emoji.captions import held_out_pair

WHITE = "white"
_ON_A_GROUND = re.compile(r"(.+) on an? (\w+) background")


@dataclass(frozen=True)
class Wish:
    """A prompt and what it says of a concept: ``style`` and ``ground`` (a colour of `PALETTE` or white), None where
    it leaves them open."""

    text: str
    hexcode: str
    style: str | None = None
    ground: str | None = None


def wish_of(caption: Caption, entry: dict[str, Any]) -> Wish:
    """The wish in a caption that was drawn for an index line."""
    return Wish(
        caption.text,
        entry["hexcode"],
        entry["style"] if caption.style_mentioned else None,
        (caption.background or WHITE) if caption.background_mentioned else None,
    )


def label_wish(entry: dict[str, Any], ground: str | None = None) -> Wish:
    """The plain label with its article, on a ground if one is named."""
    colour = f" on {with_article(ground)} background" if ground else ""
    return Wish(with_article(entry["label"]) + colour, entry["hexcode"], None, ground)


def colour_if_unsaid(sampler: CaptionSampler) -> float:
    """How often a picture lies on a colour, given that its caption says nothing of the ground."""
    colour = sampler.background_probability * (1 - sampler.mention_probability)
    white = (1 - sampler.background_probability) * (1 - sampler.white_probability)
    return colour / (colour + white) if sampler.mode == "varied" and colour else 0.0


class World:
    """The data as a distribution: captions from it, and pictures under a caption."""

    def __init__(self, data: EmojiDataset, sampler: CaptionSampler) -> None:
        self.data = data
        self.sampler = sampler
        self.concepts: dict[str, list[int]] = {}
        for row, entry in enumerate(data.entries):
            self.concepts.setdefault(entry["hexcode"], []).append(row)

    def entry(self, hexcode: str) -> dict[str, Any]:
        """The first index line of a concept: label, aliases, tags, split."""
        return self.data.entries[self.concepts[hexcode][0]]

    def labels(self) -> list[str]:
        """The labels of all concepts."""
        return [self.entry(hexcode)["label"] for hexcode in self.concepts]

    def captions(self, count: int, rng: np.random.Generator) -> list[Wish]:
        """Wishes as the model met them in training: a picture by chance, then a caption for it."""
        entries = [self.data.entries[row] for row in rng.integers(len(self.data), size=count)]
        return [wish_of(self.sampler.sample(rng, entry), entry) for entry in entries]

    def read(self, prompt: str) -> Wish:
        """The wish in a prompt written by hand: a name with or without its article, perhaps a ground.

        `InputError` for what is no name of a concept, or no colour.
        """
        found = _ON_A_GROUND.fullmatch(prompt)
        name, ground = (found[1], found[2]) if found else (prompt, None)
        if ground not in (None, WHITE, *PALETTE):
            raise InputError(f"prompt {prompt!r} names the ground {ground!r}; valid: {', '.join(PALETTE)}, {WHITE}")
        for hexcode in self.concepts:
            entry = self.entry(hexcode)
            for known in (entry["label"], *entry["aliases"]):
                if name in (known, with_article(known)):
                    return Wish(prompt, hexcode, None, ground)
        raise InputError(f"prompt {prompt!r}: {name!r} is no name of a trained core concept")

    def bare(self, count: int) -> list[Wish]:
        """Label-only wishes for ``count`` concepts, evenly from the list."""
        codes = list(self.concepts)
        chosen = np.linspace(0, len(codes) - 1, min(count, len(codes))).round().astype(int)
        return [label_wish(self.entry(codes[i])) for i in chosen]

    def pairs(self, held_out: bool, count: int | None, rng: np.random.Generator) -> list[Wish]:
        """Label-on-colour wishes whose pair was (not) held out of the training, none twice; at most ``count``.

        Colours on which a picture of the concept, in any style, would be hidden are left out.
        """
        wishes = []
        for hexcode, rows in self.concepts.items():
            hidden = {colour for row in rows for colour in self.data.entries[row]["clashes"]}
            wishes += [
                label_wish(self.entry(hexcode), colour)
                for colour in PALETTE
                if colour not in hidden and held_out_pair(hexcode, colour) == held_out
            ]
        order = rng.permutation(len(wishes))
        return [wishes[i] for i in order[:count]]

    def render(self, wishes: Sequence[Wish], rng: np.random.Generator) -> np.ndarray:
        """One real picture for each wish, what it leaves open drawn as in training: uint8 ``[N, H, W, 3]``."""
        unsaid = colour_if_unsaid(self.sampler)
        rows, grounds = [], []
        for wish in wishes:
            row = self._row(wish, rng)
            ground = wish.ground
            if ground is None and rng.random() < unsaid:
                colours = self.sampler.colours(self.data.entries[row])
                ground = colours[rng.integers(len(colours))]
            rows.append(row)
            grounds.append(ground)
        mirrored = self.data.draw_mirrored(rows, rng)
        pictures = [self.data.image(row, ground) for row, ground in zip(rows, grounds, strict=True)]
        return np.stack([p[:, ::-1] if flip else p for p, flip in zip(pictures, mirrored, strict=True)])

    def _row(self, wish: Wish, rng: np.random.Generator) -> int:
        """A picture of the concept in the style that was asked for, and visible on the ground if there is one."""
        entries = self.data.entries
        rows = [row for row in self.concepts[wish.hexcode] if wish.style in (None, entries[row]["style"])]
        if wish.ground in PALETTE:
            rows = [row for row in rows if wish.ground not in entries[row]["clashes"]] or rows
        return rows[rng.integers(len(rows))]
