"""Before any test imports Paddle: fast matrix products, and no file of the user's is read or written."""

import contextlib
import ctypes
import os
import sys
import tempfile
from pathlib import Path

from fastdiffusers.environment import wanted

os.environ.update(wanted(os.environ))
# Many small models come and go: a third of the tests' CPU time was the kernel's, handing out the same memory again.
KEPT = {"MALLOC_TRIM_THRESHOLD_": (-1, 2**31 - 1), "MALLOC_MMAP_THRESHOLD_": (-3, 2**30)}
for variable, (option, size) in KEPT.items():
    os.environ.setdefault(variable, str(size))  # for processes that tests start
    with contextlib.suppress(AttributeError, OSError):  # not glibc
        ctypes.CDLL(None).mallopt(option, size)
os.environ["FASTDIFFUSERS_HOME"] = tempfile.mkdtemp(prefix="fastdiffusers-tests-")
sys.path.insert(0, str(Path(__file__).parent / "golden"))
