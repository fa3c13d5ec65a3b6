"""What every source does: walk over its samples in a fixed order, from any place, and count. No Paddle."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from fastdiffusers.distillation.data.filters import Filters
from fastdiffusers.distillation.data.sample import Cursor, Item, Sample, Skipped, Tally, Unreadable, UnreadableSample
from fastdiffusers.errors import InputError


class Source(ABC):
    """Samples in a fixed order. Iterating gives those that can be used and counts them and the others in `counts`."""

    kind: str

    def __init__(self, filters: Filters) -> None:
        self.filters = filters
        self.counts = Tally()

    @abstractmethod
    def describe(self) -> str:
        """Where the samples come from, in a few words."""

    @abstractmethod
    def fingerprint(self) -> str:
        """A hash that changes when the samples do; pictures count by size and time of change, captions by content."""

    @property
    @abstractmethod
    def units(self) -> int:
        """How many rows, files or shards there are."""

    @abstractmethod
    def read_unit(self, unit: int) -> Iterator[Callable[[], Item]]:
        """A call for each sample of a unit; it may raise `UnreadableSample`."""

    def items(self, start: Cursor = Cursor()) -> Iterator[tuple[Cursor, Item]]:  # noqa: B008 (immutable)
        """Every sample from ``start`` on, usable or not, with the place after it."""
        for unit in range(start.unit, self.units):
            passed = start.offset if unit == start.unit else 0
            for offset, read in enumerate(self.read_unit(unit)):
                if offset < passed:
                    continue
                try:
                    item = read()
                except UnreadableSample as error:
                    item = Unreadable(str(error))
                yield Cursor(unit, offset + 1), item

    def __iter__(self) -> Iterator[Sample]:
        self.counts = Tally()
        for _, item in self.items():
            self.counts.count(item)
            if isinstance(item, Sample):
                yield item

    def checked(self, sample: Sample, metadata: dict[str, Any]) -> Item:
        """The sample, unless its scores leave it out or it has no caption."""
        try:
            reason = self.filters.by_scores(metadata)
        except UnreadableSample as error:
            raise UnreadableSample(f"{sample.key}: {error}") from None
        if reason is not None:
            return Skipped(reason)
        if not sample.caption.strip():
            raise UnreadableSample(f"{sample.key}: the caption is empty")
        return sample


def read_text(path: Path, what: str) -> str:
    """The text of a file that must be there; `InputError` if it is missing or not UTF-8."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"cannot read {what} {str(path)!r}: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise InputError(
            f"{what} {str(path)!r} is not UTF-8: byte {error.start} is {error.object[error.start]:#04x}"
        ) from None


def marked(path: Path) -> str:
    """A file by its size and time of change; for one that is missing, that it is."""
    try:
        stat = path.stat()
    except OSError:
        return "missing"
    return f"{stat.st_size} {stat.st_mtime_ns}"


def digest(*parts: str) -> str:
    """SHA-256 of texts, hexadecimal."""
    return hashlib.sha256("\x00".join(parts).encode()).hexdigest()
