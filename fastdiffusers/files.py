"""Files that are either whole or not there."""

from __future__ import annotations

import hashlib
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from fastdiffusers.errors import InputError


@contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; rename it to ``path`` on success, remove it on any failure.

    Works for a file and for a folder (create it at the yielded path; an older folder of the same name is replaced).
    An unwritable place is an `InputError` that names it.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        if temporary.is_dir() and path.is_dir():
            old = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.old")
            os.replace(path, old)
            os.replace(temporary, path)
            shutil.rmtree(old)
        else:
            os.replace(temporary, path)
    except OSError as error:
        _remove(temporary)
        raise InputError(f"cannot write {str(path)!r}: {error.strerror or error}") from error
    except BaseException:
        _remove(temporary)
        raise


def refuse_foreign_folder(folder: Path, own: str) -> None:
    """`InputError` if ``folder`` holds files, but not ``own``, the file by which we know what we wrote ourselves.

    For commands that replace a folder as a whole: nobody's pictures are lost to a mistyped ``--out``.
    """
    try:
        foreign = folder.is_dir() and any(folder.iterdir()) and not (folder / own).is_file()
    except OSError as error:
        raise InputError(f"cannot read {str(folder)!r}: {error.strerror or error}") from None
    if foreign:
        raise InputError(f"{str(folder)!r} holds other files, which would be replaced; name a new or empty folder")


def _remove(path: Path) -> None:
    with suppress(OSError):  # the failure that brought us here is the one to report
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def sha256_file(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a file's bytes, as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def cache_dir() -> Path:
    """Where built data and calibrations go: ``$FASTDIFFUSERS_HOME`` or ``~/.cache/fastdiffusers``."""
    return Path(os.environ.get("FASTDIFFUSERS_HOME") or Path.home() / ".cache" / "fastdiffusers")
