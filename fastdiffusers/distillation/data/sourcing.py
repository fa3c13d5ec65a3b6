"""Which source the options mean. No Paddle."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from fastdiffusers.distillation.data.filters import Filters
from fastdiffusers.distillation.data.options import TEACHER, DataOptions
from fastdiffusers.distillation.data.sources.base import Source
from fastdiffusers.distillation.data.sources.csv_file import METADATA, CsvSource
from fastdiffusers.distillation.data.sources.folder import FolderSource
from fastdiffusers.distillation.data.sources.laion import LaionSource
from fastdiffusers.distillation.data.sources.prompts import own_captions, prompt_file
from fastdiffusers.errors import InputError

if TYPE_CHECKING:
    from fastdiffusers.models.info import ModelInfo


def source(options: DataOptions, info: ModelInfo | None = None) -> Source:
    """The source that ``options`` name; ``info`` describes the teacher, whose own captions may be asked for.

    Raises `InputError` for data that is not there or of another kind.
    """
    kind = kind_of(options)
    _refuse_unused(options, kind)
    place = Path(options.data)
    if kind == TEACHER:
        if options.prompts:
            return prompt_file(Path(options.prompts), options)
        if info is None:
            raise InputError(f"data is {TEACHER!r} and no prompts are given; name a file of prompts (prompts=FILE)")
        return own_captions(info, options)
    if kind == "prompts":
        return prompt_file(place, options)
    if not place.exists():
        raise InputError(f"data {options.data!r} does not exist")
    filters = Filters(options)
    if kind == "csv":
        return CsvSource(place, filters)
    if kind == "folder":
        if not place.is_dir():
            raise InputError(f"data {options.data!r} is no folder")
        return FolderSource(place, filters)
    return LaionSource(*_laion_places(options), filters)


def kind_of(options: DataOptions) -> str:
    """``data_kind``, found out if it is ``auto``."""
    if options.data_kind != "auto":
        return options.data_kind
    if options.data == TEACHER:
        return TEACHER
    if options.file_list:
        return "laion"
    place = Path(options.data)
    if place.is_dir():
        return "csv" if (place / METADATA).is_file() else "folder"
    if not place.is_file():
        raise InputError(f"data {options.data!r} does not exist; valid: {TEACHER!r}, a folder, or a file")
    if place.suffix.lower() == ".csv":
        return "csv"
    return "laion" if _lists_files(place) else "prompts"


def _lists_files(path: Path) -> bool:
    """Whether the first line of a text file names a file beside it."""
    try:
        with path.open(encoding="utf-8") as stream:
            first = stream.readline().strip()
        return bool(first) and len(first) < 4096 and (path.parent / first).is_file()
    except (OSError, ValueError):
        return False


def _laion_places(options: DataOptions) -> tuple[Path, Path]:
    """Root and file list: both given, or the list alone."""
    place = Path(options.data)
    if not options.file_list:
        if place.is_dir():
            raise InputError(f"data {options.data!r} is a folder of shards; name the list of them too (file_list=FILE)")
        return place.parent, place
    if not place.is_dir():
        raise InputError(f"data {options.data!r} is no folder; with file_list it is the root of the shards")
    return place, Path(options.file_list)


def _refuse_unused(options: DataOptions, kind: str) -> None:
    drawn = kind in (TEACHER, "prompts")
    if options.seeds_per_prompt > 1 and not drawn:
        raise InputError(
            f"seeds_per_prompt {options.seeds_per_prompt} is for latents that the teacher draws; data_kind is {kind!r}"
        )
    if options.trajectories and not drawn:
        raise InputError(f"trajectories are of latents that the teacher draws; data_kind is {kind!r}, not {TEACHER!r}")
    if options.prompts and kind != TEACHER:
        raise InputError(
            f"prompts {options.prompts!r} are for data={TEACHER}; this is data={options.data} read as {kind!r}"
        )
    if options.file_list and kind != "laion":
        raise InputError(f"file_list {options.file_list!r} is for shards; data_kind is {kind!r}, not 'laion'")
