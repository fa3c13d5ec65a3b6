"""Where files go: their names, and whether they can be written there, found out before anything is drawn or made."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from fastdiffusers.errors import InputError

DEFAULT = Path("fastdiff.png")
_AROUND = len("..01234567.tmp")  # what `fastdiffusers.files.atomic_write` puts around a name while it writes
_NAME_MAX = 255  # bytes, where the system does not say


def picture_paths(out: Path, count: int) -> list[Path]:
    """``apple.png`` for one picture; ``apple-1.png`` … ``apple-n.png`` for several."""
    if count == 1:
        return [out]
    digits = len(str(count))
    return [out.with_name(f"{out.stem}-{i + 1:0{digits}d}{out.suffix}") for i in range(count)]


def again_path(source: Path) -> Path:
    """Where the copy of a picture goes by default: ``fastdiff-again.png`` for ``fastdiff.png``, in this folder."""
    return Path(f"{source.stem}-again.png")


def check_pictures(paths: Sequence[Path], inputs: Iterable[Path] = ()) -> None:
    """Raise `InputError` unless every path is a PNG's and can be written; see `check_files`."""
    for path in paths:
        if path.suffix.lower() != ".png":
            raise InputError(f"--out {shown(path)} must end in .png; the record of how it was drawn travels in a PNG")
    check_files("--out", paths, inputs)


def check_files(option: str, paths: Sequence[Path], inputs: Iterable[Path] = ()) -> None:
    """Raise `InputError` unless every path can be written: no folder, none of ``inputs``, in a place that takes files.

    Nothing is made: a missing folder is made when the file is written.
    """
    given = list(inputs)
    for path in paths:
        if os.path.isdir(path):
            raise InputError(f"{option} {shown(path)} is a folder; give the name of a file")
        for other in given:
            if is_same_file(path, other):
                raise InputError(f"{option} {shown(path)} would overwrite {shown(other)}, which is read; name another")
        _check_length(option, path)
    for folder in {path.parent for path in paths}:
        check_folder(folder)


def check_folder(folder: Path) -> None:
    """Raise `InputError` unless a file can be made in ``folder`` or, where that is missing, in the nearest above it."""
    standing = _standing(folder)
    try:
        with tempfile.TemporaryFile(dir=standing):
            pass
    except OSError as error:
        raise InputError(f"cannot write into {shown(standing)}: {error.strerror or error}") from None


def is_same_file(one: Path, other: Path) -> bool:
    """Whether both names mean one existing file, through links as well."""
    try:
        return os.path.samefile(one, other)
    except (OSError, ValueError):
        return False


def shown(path: Path) -> str:
    """A path in quotes, cut where it is longer than anybody reads."""
    text = str(path)
    return repr(text if len(text) <= 200 else f"{text[:199]}…")


def _standing(folder: Path) -> Path:
    return next((one for one in (folder, *folder.parents) if os.path.lexists(one)), folder)


def _check_length(option: str, path: Path) -> None:
    """File systems limit names, mostly to 255 bytes; the temporary name beside the file must fit as well."""
    limit = _NAME_MAX
    with suppress(OSError, ValueError, AttributeError):  # no such call, or no such limit, on this system
        limit = os.pathconf(_standing(path.parent), "PC_NAME_MAX")
    too_long = len(os.fsencode(path.name)) > limit - _AROUND
    too_long = too_long or any(len(os.fsencode(part)) > limit for part in path.parts)
    try:
        path.with_name(f".{path.name}.01234567.tmp").lstat()
    except OSError as error:
        too_long = too_long or error.errno == errno.ENAMETOOLONG
    except ValueError:
        raise InputError(f"{option} {shown(path)} is not the name of a file") from None
    if too_long:
        raise InputError(
            f"{option} {shown(path)} is too long a name; a file's name has at most {limit - _AROUND} bytes here"
        )
