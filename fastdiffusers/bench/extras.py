"""What tables show beside time and quality when a bench has it: computed share, features, memory held, the replay."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Extra:
    """A column: ``title``, ``short`` for a terminal, ``text`` of a row's value, which `value` finds (None: a dash)."""

    title: str
    short: str
    value: Callable[[Row], float | None]
    form: str

    def text(self, row: Row) -> str:
        """The row's cell."""
        value = self.value(row)
        return "–" if value is None else self.form.format(value)


def _in(part: str, key: str, scale: float = 1.0) -> Callable[[Row], float | None]:
    def value(row: Row) -> float | None:
        found = (row.get(part) or {}).get(key)
        return None if found is None else scale * found

    return value


def _scaled(key: str, scale: float) -> Callable[[Row], float | None]:
    return lambda row: None if row.get(key) is None else scale * row[key]


COMPUTED = Extra("computed", "computed", _scaled("computed", 100.0), "{:.0f} %")
EXTRAS = (
    COMPUTED,
    Extra("features", "features", _in("quality", "features"), "{:.3f}"),
    Extra("held KiB", "KiB held", _scaled("held_bytes", 1 / 1024), "{:.0f}"),
    Extra("replayed speed-up", "replayed ×", _in("replay", "speedup"), "{:.2f}"),
    Extra("skipped step there", "skipped", _in("replay", "skip_ratio", 100.0), "{:.1f} %"),
)


def extras(data: Mapping[str, Any]) -> list[Extra]:
    """The columns for which some row that is not plain sampling has a value."""
    rows = [row for row in data["rows"] if row["records"]]
    return [extra for extra in EXTRAS if any(extra.value(row) is not None for row in rows)]
