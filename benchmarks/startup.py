"""How long the commands take that compute nothing: median of seven runs, wall-clock, each in a process of its own.

Run: ``python benchmarks/startup.py [PROGRAM]`` with the ``fastdiff`` to time (that of this environment by default).
"""

import statistics
import subprocess
import sys
import time
from pathlib import Path

COMMANDS = (["--help"], ["accel", "list"], ["explain", "--accel", "teacache"], ["plugins"], ["models"])
RUNS = 7

program = sys.argv[1] if len(sys.argv) > 1 else str(Path(sys.executable).with_name("fastdiff"))
for words in COMMANDS:
    seconds = []
    for _ in range(RUNS + 1):
        started = time.perf_counter()
        subprocess.run([program, *words], check=True, stdout=subprocess.DEVNULL)
        seconds.append(time.perf_counter() - started)
    seconds = sorted(seconds[1:])  # the first one reads the files from the disk
    print(f"{' '.join(words):28} {statistics.median(seconds):.2f} s ({seconds[0]:.2f}–{seconds[-1]:.2f})")
