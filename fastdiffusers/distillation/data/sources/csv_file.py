"""``metadata.csv``: a picture and its prompt a row. No Paddle."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator
from pathlib import Path

from fastdiffusers.distillation.data.filters import Filters
from fastdiffusers.distillation.data.picture import read_file
from fastdiffusers.distillation.data.sample import Item, Sample, UnreadableSample
from fastdiffusers.distillation.data.sources.base import Source, digest, marked, read_text
from fastdiffusers.errors import InputError

METADATA = "metadata.csv"
IMAGE = ("image", "file_name", "path")
PROMPT = ("prompt", "caption", "text")


class CsvSource(Source):
    """A CSV file with a header. Columns: ``image`` (relative to the file), ``prompt``, and perhaps scores."""

    kind = "csv"

    def __init__(self, path: Path, filters: Filters) -> None:
        super().__init__(filters)
        self.path = path / METADATA if path.is_dir() else path
        self._text = read_text(self.path, "metadata")
        reader = csv.reader(io.StringIO(self._text, newline=""))
        try:
            self._header = [name.strip() for name in next(reader, [])]
            self._rows: list[tuple[int, list[str]]] = []
            line = reader.line_num + 1
            for row in reader:
                if row:
                    self._rows.append((line, row))
                line = reader.line_num + 1
        except csv.Error as error:
            raise InputError(f"{self.path.name}:{reader.line_num}: not valid CSV: {error}") from None
        self._image, self._prompt = self._column(IMAGE), self._column(PROMPT)
        for option, names in filters.scores:
            if not set(names) & set(self._header):
                raise InputError(f"{str(self.path)!r} has no column {names[0]}, which {option} needs")

    def _column(self, names: tuple[str, ...]) -> int:
        for name in names:
            if name in self._header:
                return self._header.index(name)
        raise InputError(
            f"{str(self.path)!r} has no column {names[0]!r} in line 1 but {', '.join(self._header)[:200] or 'nothing'};"
            " the header is image,prompt"
        )

    def describe(self) -> str:
        return f"{str(self.path)!r}, {len(self._rows)} rows"

    def fingerprint(self) -> str:
        pictures = [marked(self._place(row)) if len(row) == len(self._header) else "" for _, row in self._rows]
        return digest(self._text, *pictures)

    @property
    def units(self) -> int:
        return len(self._rows)

    def read_unit(self, unit: int) -> Iterator[Callable[[], Item]]:
        yield lambda: self._sample(unit)

    def _place(self, row: list[str]) -> Path:
        return self.path.parent / row[self._image].strip()

    def _sample(self, unit: int) -> Item:
        line, row = self._rows[unit]
        key = f"{self.path.name}:{line}"
        if len(row) != len(self._header):
            raise UnreadableSample(f"{key}: {len(row)} fields, the header has {len(self._header)}")
        if not row[self._image].strip():
            raise UnreadableSample(f"{key}: no picture is named")
        place = self._place(row)
        sample = Sample(key, row[self._prompt].strip(), lambda: read_file(place))
        return self.checked(sample, dict(zip(self._header, row, strict=True)))
