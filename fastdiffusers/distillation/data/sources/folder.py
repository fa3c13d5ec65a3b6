"""A folder of pictures, each with its caption in a ``.txt`` file of the same name. No Paddle."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from fastdiffusers.distillation.data.filters import Filters
from fastdiffusers.distillation.data.picture import SUFFIXES, read_file
from fastdiffusers.distillation.data.sample import Item, Sample, UnreadableSample
from fastdiffusers.distillation.data.sources.base import Source, digest, marked
from fastdiffusers.errors import InputError


class FolderSource(Source):
    """All pictures below a folder, in the order of their paths."""

    kind = "folder"

    def __init__(self, path: Path, filters: Filters) -> None:
        super().__init__(filters)
        self.path = path
        for option, _ in filters.scores:
            raise InputError(f"{option} needs scores, and a folder of pictures has none; use metadata.csv")
        self._pictures = sorted(item for item in path.rglob("*") if is_picture(item))
        if not self._pictures:
            raise InputError(
                f"{str(path)!r} holds no picture ({', '.join(SUFFIXES)}); of shards, name the list too (file_list=FILE)"
            )

    def describe(self) -> str:
        return f"{str(self.path)!r}, {len(self._pictures)} pictures"

    def fingerprint(self) -> str:
        return digest(
            *(
                f"{picture.relative_to(self.path).as_posix()} {marked(picture)} {marked(caption_file(picture))}"
                for picture in self._pictures
            )
        )

    @property
    def units(self) -> int:
        return len(self._pictures)

    def read_unit(self, unit: int) -> Iterator[Callable[[], Item]]:
        yield lambda: self._sample(self._pictures[unit])

    def _sample(self, picture: Path) -> Item:
        key = picture.relative_to(self.path).as_posix()
        captions = caption_file(picture)
        try:
            caption = " ".join(captions.read_text(encoding="utf-8-sig").split())
        except OSError as error:
            raise UnreadableSample(f"{key}: no caption {captions.name!r} ({error.strerror or error})") from None
        except UnicodeDecodeError:
            raise UnreadableSample(f"{key}: caption {captions.name!r} is not UTF-8") from None
        return self.checked(Sample(key, caption, lambda: read_file(picture)), {})


def is_picture(path: Path) -> bool:
    """Whether a file is a picture by its name; hidden files are none."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()


def caption_file(picture: Path) -> Path:
    """Where the caption of a picture is."""
    return picture.with_suffix(".txt")
