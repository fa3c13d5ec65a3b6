"""Captions of the embedded model: which concepts, which grounds, and tokenizers over exactly those words."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from fastdiffusers.models.tokenizer_training import build_clip_tokenizer, build_t5_tokenizer
from fastdiffusers.models.tokenizers import CLIPTokenizer, T5Tokenizer
from fastdiffusers.zoo.emoji import PALETTE, Caption, CaptionSampler, vocabulary

CLIP_LENGTH = 24
T5_LENGTH = 16
CLIP_VOCABULARY = 2400
T5_VOCABULARY = 1800


class Captioned(Protocol):
    """What captions are drawn from: the pictures' index lines and those of all data (an `EmojiDataset` has both)."""

    entries: list[dict[str, Any]]
    index: list[dict[str, Any]]


class CaptionSource:
    """Draws a caption and the ground that goes with it, which the caption names or keeps quiet about.

    ``coloured`` is the share of pictures on a coloured ground; half of their captions name the colour.
    """

    def __init__(self, data: Captioned, coloured: float) -> None:
        self.data = data
        self.sampler = CaptionSampler(
            "varied",
            data.index,
            style_probability=0.3,
            background_probability=coloured,
            mention_probability=0.5,
            white_probability=0.3,
        )

    def draw(self, rows: Sequence[int] | np.ndarray, rng: np.random.Generator) -> list[Caption]:
        """One caption a row."""
        return [self.sampler.sample(rng, self.data.entries[int(row)]) for row in rows]

    def corpus(self, times: int = 24) -> list[str]:
        """Captions in which every word that can be drawn has its usual frequency; the same list every time."""
        rng = np.random.default_rng(0)
        drawn = [self.sampler.sample(rng, entry).text for _ in range(times) for entry in self.data.entries]
        return drawn + vocabulary(self.data.entries)


def build_tokenizers(source: CaptionSource) -> tuple[CLIPTokenizer, T5Tokenizer]:
    """Both tokenizers, over the captions of ``source``; a whole word is one token wherever there is room."""
    corpus = source.corpus()
    clip = build_clip_tokenizer(corpus, CLIP_VOCABULARY, CLIP_LENGTH)
    return clip, build_t5_tokenizer(corpus, T5_VOCABULARY, T5_LENGTH)


def load_tokenizers(folder: Path) -> tuple[CLIPTokenizer, T5Tokenizer]:
    """Both tokenizers of a model folder."""
    return CLIPTokenizer.from_folder(folder / "tokenizer"), T5Tokenizer.from_folder(folder / "tokenizer_2")


GROUNDS: tuple[str | None, ...] = (None, *PALETTE)
"""Backgrounds in the order of the cached latents; None is white."""
