"""Where pictures go: their names, and whether they can be written there, found out before anything is drawn."""

from __future__ import annotations

import tempfile
from pathlib import Path

from fastdiffusers.errors import InputError

DEFAULT = Path("fastdiff.png")


def picture_paths(out: Path, count: int) -> list[Path]:
    """``apple.png`` for one picture; ``apple-1.png`` … ``apple-n.png`` for several."""
    if count == 1:
        return [out]
    digits = len(str(count))
    return [out.with_name(f"{out.stem}-{i + 1:0{digits}d}{out.suffix}") for i in range(count)]


def check_writable(paths: list[Path]) -> None:
    """Raise `InputError` unless every path can be written: a PNG name, no folder, in a place that takes new files.

    A folder that is missing is made.
    """
    for path in paths:
        if path.suffix.lower() != ".png":
            raise InputError(f"--out {str(path)!r} must end in .png; the record of how it was drawn travels in a PNG")
        if path.is_dir():
            raise InputError(f"--out {str(path)!r} is a folder; give the name of a .png file")
    for folder in {path.parent for path in paths}:
        check_folder(folder)


def check_folder(folder: Path) -> None:
    """Raise `InputError` unless a file can be made in ``folder``, which is made when missing."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(f"cannot write into {str(folder)!r}: {error.strerror or error}") from None
