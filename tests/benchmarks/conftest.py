"""The scripts of benchmarks/embedded import each other by name; tests do, too."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks" / "embedded"))
