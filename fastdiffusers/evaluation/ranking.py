"""Human rankings: scores, their uncertainty, and how far the judges agree. No Paddle."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fastdiffusers.errors import InputError

SCORES = (10.0, 7.0, 5.0, 3.0, 1.0)
"""What the first to the fifth rank count."""
COLUMNS = ("judge", "item", "method", "rank")
BOOTSTRAP = 2000


@dataclass(frozen=True)
class Ranking:
    """Ranks of one judge for one item: ``ranks[method]`` from 1 (best)."""

    judge: str
    item: str
    ranks: dict[str, int]


@dataclass(frozen=True)
class Score:
    """Mean score of a method, and the 95 % interval of it over items drawn with replacement."""

    method: str
    mean: float
    low: float
    high: float


def read_ranks(path: Path, key: Path | None = None) -> list[Ranking]:
    """Rankings from a CSV file with the columns judge, item, method, rank.

    With ``key``, the file that `write_sheets` leaves, methods are the letters of its sheets.

    `InputError`: a missing file or column, a rank that is none, one given twice, and methods that differ from item to
    item.
    """
    try:
        with open(path, newline="", encoding="utf-8-sig") as stream:  # spreadsheets begin such files with a mark
            reader = csv.DictReader(stream)
            missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
            if missing:
                raise InputError(f"{str(path)!r} lacks the column {missing[0]!r}; it needs {', '.join(COLUMNS)}")
            lines = [(reader.line_num, {name: (line[name] or "").strip() for name in COLUMNS}) for line in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"cannot read {str(path)!r}: {error}") from None
    letters = None if key is None else _read_key(key)
    found: dict[tuple[str, str], dict[str, int]] = {}
    for number, line in lines:
        empty = [name for name in COLUMNS if not line[name]]
        if empty:
            raise InputError(f"{str(path)!r} line {number}: {empty[0]} is empty; it needs {', '.join(COLUMNS)}")
        if letters is not None:
            known = letters.get(line["item"], {})
            if line["method"] not in known:
                raise InputError(
                    f"{str(path)!r} line {number}: {str(key)!r} has no {line['method']!r} of {line['item']!r}"
                )
            line["method"] = known[line["method"]]
        ranks = found.setdefault((line["judge"], line["item"]), {})
        text = line["rank"]
        if not text.isdecimal() or not 1 <= int(text) <= len(SCORES):
            raise InputError(f"{str(path)!r} line {number}: rank {text!r} is not valid; valid are 1 to {len(SCORES)}")
        if line["method"] in ranks:
            raise InputError(f"{str(path)!r} line {number}: {line['method']!r} is ranked twice for {line['item']!r}")
        ranks[line["method"]] = int(text)
    if not found:
        raise InputError(f"{str(path)!r} holds no rankings")
    methods = set(next(iter(found.values())))
    for (judge, item), ranks in found.items():
        if set(ranks) != methods:
            raise InputError(
                f"{str(path)!r}: {judge!r} ranks {sorted(ranks)} for {item!r}, elsewhere {sorted(methods)}"
            )
    return [Ranking(judge, item, ranks) for (judge, item), ranks in found.items()]


def _read_key(path: Path) -> dict[str, dict[str, str]]:
    """Which letter is which method, by item."""
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
        return {str(entry["item"]): {name: str(entry[name]) for name in entry if len(name) == 1} for entry in entries}
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InputError(f"{str(path)!r} is no key of comparison sheets ({type(error).__name__}: {error})") from None


def scores(rankings: Sequence[Ranking], seed: int = 0) -> list[Score]:
    """The methods by mean score, best first. Equal ranks count alike."""
    methods = sorted(rankings[0].ranks)
    items = sorted({ranking.item for ranking in rankings})
    table = np.array([[SCORES[ranking.ranks[method] - 1] for method in methods] for ranking in rankings])
    rows = {item: [i for i, ranking in enumerate(rankings) if ranking.item == item] for item in items}
    rng = np.random.default_rng(seed)
    draws = []
    for _ in range(BOOTSTRAP):
        chosen = [row for i in rng.integers(len(items), size=len(items)) for row in rows[items[i]]]
        draws.append(table[chosen].mean(axis=0))
    low, high = np.percentile(draws, [2.5, 97.5], axis=0)
    means = table.mean(axis=0)
    found = [Score(name, float(means[i]), float(low[i]), float(high[i])) for i, name in enumerate(methods)]
    return sorted(found, key=lambda score: -score.mean)


def agreement(rankings: Sequence[Ranking]) -> float:
    """Kendall's W over all rankings, corrected for ties: 0 for no agreement, 1 for a perfect one.

    W = 12·Σ(R_i − R̄)² / (m²·(n³ − n) − m·ΣT) with mean ranks for ties and T = Σ(t³ − t) for each ranking.
    """
    methods = sorted(rankings[0].ranks)
    count, judged = len(methods), len(rankings)
    if count < 2 or judged < 2:
        raise InputError(f"{judged} rankings of {count} methods: an agreement needs at least two of both")
    sums, ties = np.zeros(count), 0.0
    for ranking in rankings:
        given = np.array([ranking.ranks[method] for method in methods])
        sums += np.array([(given < own).sum() + ((given == own).sum() + 1) / 2 for own in given])
        sizes = np.unique(given, return_counts=True)[1]
        ties += float((sizes**3 - sizes).sum())
    spread = float(((sums - sums.mean()) ** 2).sum())
    whole = judged**2 * (count**3 - count) - judged * ties
    return 12 * spread / whole if whole > 0 else 0.0
