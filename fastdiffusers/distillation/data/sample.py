"""One example as a source hands it over, and what became of those it cannot. No Paddle."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from PIL import Image

from fastdiffusers.errors import InputError

NAMED = 3
"""Unreadable samples that are named in messages."""
ENOUGH = 100
"""Samples after which the share of unreadable ones is judged before the end."""


class Cursor(NamedTuple):
    """A place in a source: its unit (a row, a file, a shard) and how many samples of that unit lie before."""

    unit: int = 0
    offset: int = 0


@dataclass(frozen=True)
class Sample:
    """A caption and, unless the teacher is to draw it, its picture.

    ``key`` says where it stands (``metadata.csv:3``); ``open`` reads the picture, upright, in RGB.
    """

    key: str
    caption: str
    open: Callable[[], Image.Image] | None = None


@dataclass(frozen=True)
class Unreadable:
    """A sample that cannot be used; ``reason`` names file, line and value."""

    reason: str


@dataclass(frozen=True)
class Skipped:
    """A sample that a filter leaves out; ``reason`` is the filter's name."""

    reason: str


Item = Sample | Unreadable | Skipped


class UnreadableSample(Exception):
    """Raised where a sample turns out to be unreadable; becomes an `Unreadable`."""


@dataclass
class Tally:
    """How many samples were used, left out and unreadable."""

    used: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    unreadable: int = 0
    named: list[str] = field(default_factory=list)

    @property
    def seen(self) -> int:
        """All samples that were looked at."""
        return self.used + self.unreadable + sum(self.skipped.values())

    def count(self, item: Item) -> None:
        """Note what became of one sample."""
        if isinstance(item, Sample):
            self.used += 1
        elif isinstance(item, Skipped):
            self.skipped[item.reason] += 1
        else:
            self.unreadable += 1
            if len(self.named) < NAMED:
                self.named.append(item.reason)

    def add(self, other: Tally) -> None:
        """Add another tally."""
        self.used += other.used
        self.skipped.update(other.skipped)
        self.unreadable += other.unreadable
        self.named = (self.named + other.named)[:NAMED]

    def check(self, limit: float, source: str, last: bool) -> None:
        """`InputError` if the share of unreadable samples is above ``limit``; a few samples decide only at the end."""
        if (last or self.seen >= ENOUGH) and self.unreadable > limit * self.seen:
            raise InputError(
                f"{self.unreadable} of {self.seen} samples of {source} are unreadable, "
                f"max_unreadable is {limit:g}; first: {'; '.join(self.named)}"
            )

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {
            "used": self.used,
            "skipped": dict(sorted(self.skipped.items())),
            "unreadable": self.unreadable,
            "first_unreadable": self.named,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Tally:
        """The inverse of `to_dict`."""
        return cls(values["used"], Counter(values["skipped"]), values["unreadable"], list(values["first_unreadable"]))

    def summary(self) -> str:
        """``350 used, 3 skipped (min_side 3), 1 unreadable (first: …)``."""
        parts = [f"{self.used} used"]
        if self.skipped:
            reasons = ", ".join(f"{name} {count}" for name, count in sorted(self.skipped.items()))
            parts.append(f"{sum(self.skipped.values())} skipped ({reasons})")
        if self.unreadable:
            parts.append(f"{self.unreadable} unreadable (first: {'; '.join(self.named)})")
        return ", ".join(parts)
