"""What goes together, as Markdown in English or Chinese, and its place between two marks in a file."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fastdiffusers.errors import InputError
from fastdiffusers.files import atomic_write

if TYPE_CHECKING:
    from fastdiffusers.composition import Composition
    from fastdiffusers.plan import Refusal

# the mark says the language
PLACE = re.compile(r"(<!-- accel-matrix (\w+) -->\n)(.*?)(<!-- /accel-matrix -->)", re.S)
WORDS = {
    "en": {
        "count": "{n} accelerators on `{model}` at {steps} steps: of {pairs} pairs {go2} go together, of {triples} "
        "triples {go3}; each of these is run by `tests/test_together.py`, or by `fastdiff accel matrix --run`.",
        "none": "{n} accelerators on `{model}` at {steps} steps: of {pairs} pairs and {triples} triples none goes "
        "together.",
        "claims": ("claim", "only one of these at a time"),
        "pairs": ("one of", "with one of", "together"),
        "all": "all that claim {claims}",
        "goes": "ran",
        "refused": "refused: {why}",
        "conflict": "one of the two does not go with `{word}`, which the other one is",
        "triples": "Other pairs do not go together; a triple goes if its pairs do{but}.",
        "but": ", except",
        "alone": "Refused by itself: {name} ({why}).",
    },
    "zh": {
        "count": "`{model}`、{steps} 步、{n} 个加速器：{pairs} 个两两组合中 {go2} 个可行，"
        "{triples} 个三者组合中 {go3} 个可行；"
        "每个可行的组合都由 `tests/test_together.py` 或 `fastdiff accel matrix --run` 实际运行。",
        "none": "`{model}`、{steps} 步、{n} 个加速器：{pairs} 个两两组合与 {triples} 个三者组合均不可行。",
        "claims": ("占用", "以下每次只能用一个"),
        "pairs": ("其中之一", "与其中之一", "组合"),
        "all": "所有占用 {claims} 的",
        "goes": "已运行",
        "refused": "拒绝：{why}",
        "conflict": "其中一个与 `{word}` 不相容，而另一个正是",
        "triples": "其余两两组合均不可行；三者组合在两两都可行时可行{but}。",
        "but": "，例外",
        "alone": "单独使用即被拒绝：{name}（{why}）。",
    },
}


def markdown(found: Composition, language: str) -> str:
    """The tables for a README; `InputError` for a language that is not spoken here."""
    if language not in WORDS:
        raise InputError(f"unknown language {language!r} in a mark; valid: {', '.join(WORDS)}")
    words = WORDS[language]
    number = counts(found)
    blocks = [[str(words["count" if number["go2"] else "none"]).format(**number)]]
    shared = [[_named(claims), _named(names)] for claims, names in found.shared().items()]
    if shared:
        blocks.append(_table(words["claims"], shared))
    rows = [
        [
            *(", ".join(gathered(found, side, language)) for side in (row.ones, row.others)),
            verdict(row.refusal, language),
        ]
        for row in found.rows()
    ]
    if rows:
        blocks.append(_table(words["pairs"], rows))
        blocks.append([triples(found, language)])
    for some in found.alone:
        if some.refusal is not None:
            blocks.append([str(words["alone"]).format(name=_named(some.names), why=some.refusal.reason)])
    return "\n\n".join("\n".join(block) for block in blocks) + "\n"


def gathered(found: Composition, names: Sequence[str], language: str = "en") -> list[str]:
    """Accelerators by name; all that hold a claim and stand by themselves, if they are many, by the claim."""
    left, told = list(names), []
    for claims, sharing in found.shared().items():
        holders = [name for name in sharing if found.of(name).goes]
        if len(holders) > 2 and set(holders) <= set(left):
            left = [name for name in left if name not in holders]
            told.append(str(WORDS[language]["all"]).format(claims=_named(claims)))
    return [*(f"`{name}`" for name in left), *told]


def counts(found: Composition) -> dict[str, object]:
    """How many accelerators, pairs and triples there are, and how many of them go."""
    pairs = [some for some in found.together if len(some.names) == 2]
    triples = [some for some in found.together if len(some.names) == 3]
    return {
        "n": len(found.specs),
        "model": found.info.name,
        "steps": found.setting.steps,
        "pairs": len(pairs),
        "go2": sum(some.goes for some in pairs),
        "triples": len(triples),
        "go3": sum(some.goes for some in triples),
    }


def verdict(refusal: Refusal | None, language: str = "en") -> str:
    """``ran``, or why not."""
    words = WORDS[language]
    if refusal is None:
        return str(words["goes"])
    kind, _, word = refusal.cause.partition(" ")
    why = str(words[kind]).format(word=word) if kind in words else refusal.reason
    return str(words["refused"]).format(why=why)


def triples(found: Composition, language: str = "en") -> str:
    """What is to be said of triples: that they follow from their pairs, and which do not."""
    words = WORDS[language]
    told = [f"{_named(some.names)} ({verdict(some.refusal, language)})" for some in found.exceptions()]
    but = f"{words['but']} {'; '.join(told)}" if told else ""
    return str(words["triples"]).format(but=but)


def write(path: Path, found: Composition) -> None:
    """Put the tables into a file, where it has the marks."""
    old = _read(path)
    new = _filled(old, found)
    if new != old:
        with atomic_write(path) as temporary:
            temporary.write_text(new, encoding="utf-8")


def is_current(path: Path, found: Composition) -> bool:
    """Whether the tables in a file are those that `write` would put there."""
    text = _read(path)
    return _filled(text, found) == text


def _read(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{str(path)!r} cannot be read as UTF-8 text: {error}") from None
    if not PLACE.search(text):
        raise InputError(
            f"{str(path)!r} has no place for the table; put `<!-- accel-matrix en -->` (or zh) and "
            "`<!-- /accel-matrix -->` on lines of their own"
        )
    return text


def _filled(text: str, found: Composition) -> str:
    return PLACE.sub(lambda place: place[1] + markdown(found, place[2]) + place[4], text)


def _table(head: Iterable[str], rows: list[list[str]]) -> list[str]:
    cells = list(head)
    lines = [cells, ["---"] * len(cells), *rows]
    return ["| " + " | ".join(line) + " |" for line in lines]


def _named(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)
