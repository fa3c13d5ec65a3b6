"""How fast a training goes on 1, 2, … devices: short runs of the real command, read from their logs. No Paddle."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastdiffusers.errors import PluginError

STEPS = 24
WARM = 3
"""The first third of the steps is not counted: graphs are compiled and data come into memory."""


@dataclass(frozen=True)
class Throughput:
    """One row: seconds of a step, its spread, and the greatest memory of a process."""

    devices: int
    batch: int
    seconds: float
    memory_mb: float | None

    @property
    def samples_per_s(self) -> float:
        """Examples a second, over all devices."""
        return self.batch / self.seconds

    def to_dict(self, first: Throughput) -> dict[str, Any]:
        """For JSON; ``scaling_efficiency`` is samples/s per device relative to that of the ``first`` row."""
        each = self.samples_per_s / self.devices
        return {
            "devices": self.devices,
            "batch": self.batch,
            "step_s": self.seconds,
            "samples_per_s": self.samples_per_s,
            "samples_per_s_per_device": each,
            "scaling_efficiency": each / (first.samples_per_s / first.devices),
            "memory_mb": self.memory_mb,
        }


def measure(
    method: str, words: Sequence[str], devices: Sequence[int], steps: int, progress: Callable[[str], None]
) -> list[Throughput]:
    """Train ``method`` with the recipe keys and options ``words`` for ``steps`` steps on each number of ``devices``.

    The batch is that of the recipe times the number of devices: each device does the same work in every row. Raises
    `PluginError` with the last words of a training that failed.
    """
    batch = _batch(method, words)
    rows = []
    with tempfile.TemporaryDirectory(prefix="fastdiff-") as place:
        for count in devices:
            progress(f"{method} on {count} of {max(devices)} devices, batch {batch * count}, {steps} steps")
            folder = Path(place) / str(count)
            keys = [f"steps={steps}", f"batch={batch * count}", "workers=1", "log_every=1", "sample_every=0"]
            keys += ["validation_prompts=2", "opponent_warmup=0", "best_by=", "stop_after=0"]
            _fastdiff(["distill", method, *words, *keys, "--devices", str(count), "--out", str(folder)])
            rows.append(Throughput(count, batch * count, *_read(folder, steps)))
    return rows


def _batch(method: str, words: Sequence[str]) -> int:
    """The recipe's batch, by a dry run, which checks all of the words too."""
    return int(json.loads(_fastdiff(["distill", method, *words, "--dry-run", "--json"]))["recipe"]["batch"])


def _fastdiff(words: list[str]) -> str:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-m", "fastdiffusers_cli", *words]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise PluginError(f"the training that was to be measured failed: {last.removeprefix('error: ')}")
    return done.stdout


def _read(folder: Path, steps: int) -> tuple[float, float | None]:
    """Mean seconds of a step, and the peak of the process that needed most."""
    lines = (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()
    events = [event for event in map(json.loads, lines) if event["event"] == "train"]
    training = json.loads((folder / "result.json").read_text(encoding="utf-8"))["training"]
    batch = training["samples"] / training["steps"]
    # turns of the student and of its opponents differ, so the mean and not the median
    seconds = statistics.fmean(batch / event["samples_per_s"] for event in events[steps // WARM :])
    peaks = [peak for peak in training["peak_memory_mb"] if peak is not None]
    return seconds, max(peaks, default=None)
