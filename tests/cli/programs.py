"""``fastdiff`` as a program of its own."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def environment(folder: Path) -> dict[str, str]:
    """Variables for a program of its own: this source tree, one thread, and nothing that the test run has set."""
    ours = {
        "PYTHONPATH": os.pathsep.join(str(ROOT / part) for part in ("", "cli", "plugins")),
        "OMP_NUM_THREADS": "1",
        "FASTDIFFUSERS_HOME": str(folder / "home"),
        "COLUMNS": "80",
    }
    unset = ("MKL_NUM_THREADS", "MKL_DEBUG_CPU_TYPE", "GLOG_minloglevel", "FASTDIFFUSERS_PLUGINS", "FASTDIFFUSERS_MKL")
    return {name: value for name, value in os.environ.items() if name not in unset} | ours
