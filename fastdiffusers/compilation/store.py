"""Programs kept on disk from one start to the next: written whole or not at all, checked when read, bounded in size.

No Paddle. One folder for each program, named by the hash of its key, with a manifest that holds the key and the hash
of every file. What was used last stays longest.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastdiffusers.errors import InputError
from fastdiffusers.files import atomic_write, cache_dir, sha256_file

MANIFEST = "manifest.json"
LIMIT = "FASTDIFFUSERS_COMPILED_MB"
DEFAULT_LIMIT_MB = 4000
FORMAT = 1


@dataclass(frozen=True)
class Entry:
    """A program that is kept: its folder, key, bytes on disk, and when it was used last (seconds since 1970)."""

    folder: Path
    key: Mapping[str, Any]
    size: int
    used: float

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"id": self.folder.name, "key": dict(self.key), "bytes": self.size, "used": self.used}


class Store:
    """The programs below ``folder``, at most ``limit`` bytes of them."""

    def __init__(self, folder: Path | None = None, limit: int | None = None) -> None:
        self.folder = cache_dir() / "compiled" if folder is None else folder
        self.limit = _limit() if limit is None else limit

    def find(self, key: Mapping[str, Any]) -> tuple[Path | None, str]:
        """The folder of a program, or None; and what was wrong with one that had to be thrown away, or nothing."""
        place = self._place(key)
        if not place.is_dir():
            return None, ""
        try:
            manifest = _manifest(place)
            if manifest["key"] != _plain(key):
                raise ValueError("it was made for another key")
            for name, (size, digest) in manifest["files"].items():
                if (place / name).stat().st_size != size or sha256_file(place / name) != digest:
                    raise ValueError(f"{name} is not as it was written")
        except PermissionError as error:
            return None, f"a kept program cannot be read ({error.strerror})"
        except (OSError, ValueError, KeyError, TypeError) as error:
            self.drop(key)
            return None, f"a kept program was damaged and is made anew ({' '.join(str(error).split())[:120]})"
        with suppress(OSError):  # somebody else's folder can be read all the same
            os.utime(place / MANIFEST)
        return place, ""

    def keep(self, key: Mapping[str, Any], made: Path) -> tuple[Path, str]:
        """Take over the files of folder ``made``; returns where they are now, and why they were not kept, if so."""
        size = sum(file.stat().st_size for file in made.iterdir())
        if size > self.limit:
            return made, f"not kept: {size / 1e6:.0f} MB are more than the limit of {self.limit / 1e6:.0f} MB ({LIMIT})"
        files = {file.name: [file.stat().st_size, sha256_file(file)] for file in sorted(made.iterdir())}
        place = self._place(key)
        try:
            self._make_room(size)
            with atomic_write(place) as temporary:
                shutil.copytree(made, temporary)
                text = json.dumps({"format": FORMAT, "key": _plain(key), "files": files}, indent=1)
                (temporary / MANIFEST).write_text(text + "\n", encoding="utf-8")
        except (OSError, InputError) as error:
            return made, f"not kept: {' '.join(str(error).split())}"
        return place, ""

    def drop(self, key: Mapping[str, Any]) -> None:
        """Throw one program away, if it can be."""
        shutil.rmtree(self._place(key), ignore_errors=True)

    def entries(self) -> list[Entry]:
        """Every program that is kept, the one that was used last first."""
        found = []
        for manifest in self.folder.glob(f"*/{MANIFEST}"):
            place = manifest.parent
            try:
                key, used = _manifest(place)["key"], manifest.stat().st_mtime
                size = sum(file.stat().st_size for file in place.iterdir())
            except (OSError, ValueError, KeyError, TypeError):
                key, used, size = {}, 0.0, sum(f.stat().st_size for f in place.glob("*") if f.is_file())
            found.append(Entry(place, key, size, used))
        return sorted(found, key=lambda entry: (-entry.used, entry.folder.name))

    def clear(self) -> tuple[int, int]:
        """Throw every program away, half-written ones too; returns how many there were and their bytes."""
        entries = self.entries()
        if self.folder.is_dir():
            for place in self.folder.iterdir():
                try:
                    shutil.rmtree(place) if place.is_dir() else place.unlink()
                except OSError as error:
                    raise InputError(f"cannot remove {str(place)!r}: {error.strerror or error}") from error
        return len(entries), sum(entry.size for entry in entries)

    def _make_room(self, size: int) -> None:
        entries = self.entries()
        total = sum(entry.size for entry in entries)
        while entries and total + size > self.limit:
            oldest = entries.pop()
            shutil.rmtree(oldest.folder)
            total -= oldest.size

    def _place(self, key: Mapping[str, Any]) -> Path:
        return self.folder / hashlib.sha256(json.dumps(_plain(key), sort_keys=True).encode()).hexdigest()[:32]


@contextmanager
def workshop() -> Iterator[Path]:
    """A folder for files in the making; it goes at the end."""
    try:
        folder = Path(tempfile.mkdtemp(prefix="fastdiff-compile-"))
    except OSError as error:
        raise InputError(f"no folder for temporary files: {error.strerror or error}; set TMPDIR") from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def ago(moment: float) -> str:
    """How long ``moment`` is past, in words."""
    seconds = max(time.time() - moment, 0.0)
    for unit, name in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= unit:
            return f"{seconds / unit:.0f} {name} ago"
    return f"{seconds:.0f} s ago"


def _manifest(place: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((place / MANIFEST).read_text(encoding="utf-8"))
    if content["format"] != FORMAT:
        raise ValueError(f"format {content['format']!r}")
    return content


def _plain(key: Mapping[str, Any]) -> Any:
    return json.loads(json.dumps(key))


def _limit() -> int:
    text = os.environ.get(LIMIT, str(DEFAULT_LIMIT_MB))
    if not text.isdigit():
        raise InputError(f"{LIMIT}={text!r} is not valid; it must be a number of megabytes, 0 to keep nothing")
    return int(text) * 1_000_000
