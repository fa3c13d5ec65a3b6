"""Tab-separated shards of LAION's kind, named by a list of files. No Paddle."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

from fastdiffusers.distillation.data.filters import Filters
from fastdiffusers.distillation.data.sample import Item, Sample, UnreadableSample
from fastdiffusers.distillation.data.sources.base import Source, digest, marked, read_text
from fastdiffusers.distillation.data.sources.laion_line import parse_line
from fastdiffusers.errors import InputError


class LaionSource(Source):
    """Shards in the order of ``file_list``, each a text file (perhaps ``.gz``) with a sample a line.

    Paths of shards, and of pictures in them, are relative to ``root``. An entry that ends in ``.filelist`` or ``.list``
    is a list itself.
    """

    kind = "laion"

    def __init__(self, root: Path, file_list: Path, filters: Filters) -> None:
        super().__init__(filters)
        self.root, self.file_list = root, file_list
        self._shards = list(_shards(root, file_list, ()))
        if not self._shards:
            raise InputError(f"file list {str(file_list)!r} names no shard")

    def describe(self) -> str:
        return f"{len(self._shards)} shards of {str(self.file_list)!r}"

    def fingerprint(self) -> str:
        return digest(*(f"{shard} {marked(self.root / shard)}" for shard, _ in self._shards))

    @property
    def units(self) -> int:
        return len(self._shards)

    def read_unit(self, unit: int) -> Iterator[Callable[[], Item]]:
        shard, origin = self._shards[unit]
        path = self.root / shard
        if not path.is_file():
            yield lambda: _fail(f"{origin}: shard {str(path)!r} does not exist")
            return
        try:
            with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as stream:
                for number, line in enumerate(stream, 1):
                    if line.strip():
                        yield lambda line=line, number=number: self._sample(line, f"{shard}:{number}")  # type: ignore[misc]
        except (OSError, EOFError, zlib.error) as error:
            reason = f"{shard}: shard is damaged: {error}"
            yield lambda: _fail(reason)

    def _sample(self, line: bytes, key: str) -> Item:
        try:
            found = parse_line(line.decode("utf-8"), self.root)
        except UnicodeDecodeError:
            raise UnreadableSample(f"{key}: not UTF-8") from None
        except UnreadableSample as error:
            raise UnreadableSample(f"{key}: {error}") from None
        return self.checked(Sample(key, found.caption, found.picture), found.metadata)


def _fail(reason: str) -> Item:
    raise UnreadableSample(reason)


def _shards(root: Path, file_list: Path, above: tuple[Path, ...]) -> Iterator[tuple[str, str]]:
    """Every shard's path, with the line of a list that names it."""
    if file_list in above:
        raise InputError(f"file list {str(file_list)!r} names itself")
    for number, line in enumerate(read_text(file_list, "file list").splitlines(), 1):
        name = line.strip()
        if not name or name.startswith("#"):
            continue
        if name.endswith((".filelist", ".list")):
            yield from _shards(root, root / name, (*above, file_list))
        else:
            yield name, f"{file_list.name}:{number}"
