"""Captions as numbers of whole words. No Paddle."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import numpy as np

from fastdiffusers.zoo.emoji.concepts import plain_text

PAD, UNKNOWN = 0, 1
FIRST_WORD = 2
LONGEST = 32
"""Words of a caption that are read; the captions of the data have at most about 15."""

_WORD = re.compile(r"[a-z0-9]+(?:'[a-z]+)?")


def split_words(text: str) -> list[str]:
    """The words of a text, in lower case and ASCII, without punctuation: ``"T-Rex, noto style"`` has four."""
    return _WORD.findall(plain_text(text))


def word_list(texts: Iterable[str]) -> tuple[str, ...]:
    """Every word of ``texts``, once, sorted."""
    return tuple(sorted({word for text in texts for word in split_words(text)}))


class Words:
    """Numbers the words of a list; all others are `UNKNOWN`."""

    def __init__(self, known: Sequence[str]) -> None:
        self._number = {word: FIRST_WORD + i for i, word in enumerate(known)}

    def __len__(self) -> int:
        """How many numbers there are, those of no word included."""
        return FIRST_WORD + len(self._number)

    def unknown(self, text: str) -> list[str]:
        """The words of ``text`` that are not in the list, each once."""
        return [word for word in dict.fromkeys(split_words(text)) if word not in self._number]

    def numbers(self, text: str) -> list[int]:
        """One number a word, at most `LONGEST`; a text without words is one unknown word."""
        return [self._number.get(word, UNKNOWN) for word in split_words(text)[:LONGEST]] or [UNKNOWN]


def padded(rows: Sequence[Sequence[int]]) -> np.ndarray:
    """int64 ``[len(rows), longest]``, filled up with `PAD`."""
    out = np.full((len(rows), max(map(len, rows))), PAD, dtype=np.int64)
    for i, row in enumerate(rows):
        out[i, : len(row)] = row
    return out
