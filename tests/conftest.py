"""Before any test imports Paddle: fast matrix products, and no file of the user's is read or written."""

import os
import sys
import tempfile
from pathlib import Path

from fastdiffusers.environment import wanted
from fastdiffusers.heap import keep_freed_memory

os.environ.update(wanted(os.environ))
keep_freed_memory()  # many small models come and go: a third of the tests' CPU time was the kernel's
os.environ["FASTDIFFUSERS_HOME"] = tempfile.mkdtemp(prefix="fastdiffusers-tests-")
sys.path.insert(0, str(Path(__file__).parent / "golden"))
