"""Before any test imports Paddle: fast matrix products, and no file of the user's is read or written."""

import os
import sys
import tempfile
from pathlib import Path

from fastdiffusers.environment import wanted

os.environ.update(wanted(os.environ))
os.environ["FASTDIFFUSERS_HOME"] = tempfile.mkdtemp(prefix="fastdiffusers-tests-")
sys.path.insert(0, str(Path(__file__).parent / "golden"))
