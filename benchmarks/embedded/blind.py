"""The blind test: pictures without captions, 20 candidate names for each, the key kept apart.

Somebody who has not seen the prompts names each picture by one of its candidates. Answers are a text file, one line a
picture: its number, then the name (``07 frog``).
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from bench_setup import write_picture

from fastdiffusers.errors import InputError
from fastdiffusers.files import atomic_write

CANDIDATES = 20
ENLARGED = 3
SEED = 11


@dataclass(frozen=True)
class Question:
    """Picture ``number`` of the sheet is picture ``index`` of the grid; one of ``candidates`` is ``answer``."""

    number: int
    index: int
    answer: str
    candidates: tuple[str, ...]


def questions(answers: Sequence[str], labels: Sequence[str], seed: int = SEED) -> list[Question]:
    """One question a picture, in shuffled order; the other candidates are drawn from the other ``labels``."""
    rng = np.random.default_rng(seed)
    asked = []
    for number, index in enumerate(rng.permutation(len(answers)).tolist(), start=1):
        answer = answers[index]
        others = [label for label in dict.fromkeys(labels) if label != answer]
        if len(others) < CANDIDATES - 1:
            raise InputError(f"{len(others)} other labels; {CANDIDATES - 1} are needed for a question")
        chosen = [answer, *(others[i] for i in rng.choice(len(others), CANDIDATES - 1, replace=False))]
        asked.append(Question(number, index, answer, tuple(chosen[i] for i in rng.permutation(CANDIDATES))))
    return asked


def write_sheet(folder: Path, key: Path, pictures: np.ndarray, asked: Sequence[Question]) -> None:
    """``folder``: 01.png … enlarged, and candidates.txt. ``key``: the answers, to be kept from whoever looks."""
    for question in asked:
        write_picture(folder / f"{question.number:02d}.png", pictures[question.index], ENLARGED)
    lines = [f"{question.number:02d}: {' | '.join(question.candidates)}" for question in asked]
    with atomic_write(folder / "candidates.txt") as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
    answers = {question.number: {"answer": question.answer, "index": question.index} for question in asked}
    with atomic_write(key) as temporary:
        temporary.write_text(json.dumps(answers, indent=1) + "\n", encoding="utf-8")


def marked(text: str, asked: Sequence[Question]) -> dict[str, Any]:
    """How many answers are right. A picture without an answer counts as wrong; an answer to no question is an error."""
    by_number = {question.number: question for question in asked}
    given: dict[int, str] = {}
    for line in filter(None, map(str.strip, text.splitlines())):
        found = re.fullmatch(r"(\d+)\s*[.:)]?\s*(.+)", line)
        if not found or int(found[1]) not in by_number:
            raise InputError(f"answer {line!r} is not valid; a line is a number from 1 to {len(asked)} and a name")
        given[int(found[1])] = found[2].strip().lower()
    wrong = [
        {"number": number, "answer": question.answer, "given": given.get(number, "")}
        for number, question in by_number.items()
        if given.get(number) != question.answer
    ]
    return {"right": len(asked) - len(wrong), "of": len(asked), "wrong": wrong}
