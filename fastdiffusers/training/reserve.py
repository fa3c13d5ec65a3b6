"""The output folder of one training: made if need be, and used by nobody else meanwhile."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fastdiffusers.errors import InputError

LOCK = ".lock"


@contextmanager
def reserved(folder: Path) -> Iterator[None]:
    """Hold ``folder`` for this process; `InputError` if it cannot be written or another training runs in it.

    The system frees it when the process ends, however it ends. The lock file stays: removing it would let a third
    process lock a new one while a second still waits for the old.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        stream = open(folder / LOCK, "w")  # noqa: SIM115 (closed below)
    except OSError as error:
        raise InputError(f"cannot write {str(folder)!r}: {error.strerror or error}") from None
    with stream:
        if sys.platform != "win32":
            import fcntl

            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise InputError(
                    f"another training runs in {str(folder)!r}; wait for its end or use another --out"
                ) from None
            except OSError as error:
                raise InputError(f"cannot lock {str(folder / LOCK)!r}: {error.strerror or error}") from None
        yield
