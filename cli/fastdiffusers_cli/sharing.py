"""``fastdiff infer --devices``: pictures split among processes, each of them drawn as it would be alone.

A picture is a generation of its own with a seed of its own, so who draws it changes nothing. Every process loads the
model and takes the same plan; the records are put together as if one had drawn them all.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastdiffusers.errors import InputError

if TYPE_CHECKING:
    from fastdiffusers_cli.drawing import Drawing, Drawn
    from fastdiffusers_cli.job import Job, Picture

OWN = ("prompt", "prompts", "n", "grid", "seed", "out", "save_plan", "devices")
"""Options that say which pictures there are; another process is told its own instead."""
PATHS = ("plan", "image")


def split(pictures: Sequence[Picture], count: int) -> list[tuple[Picture, ...]]:
    """``count`` parts in order, none longer than another by more than one."""
    edges = [len(pictures) * i // count for i in range(count + 1)]
    return [tuple(pictures[a:b]) for a, b in itertools.pairwise(edges)]


def draw_shared(job: Job, given: Mapping[str, Any], devices: int, show_progress: bool) -> Drawing:
    """Draw ``job`` in ``devices`` processes, at most one for each picture; this one draws the first part.

    Raises `InputError` with the last words of a process that failed.
    """
    from fastdiffusers_cli.drawing import Drawing, draw

    parts = split(job.pictures, min(devices, len(job.pictures)))
    with tempfile.TemporaryDirectory(prefix="fastdiff-") as place:
        others = [_start(given, part, rank, Path(place)) for rank, part in enumerate(parts[1:], 1)]
        try:
            own = draw(replace(job, pictures=parts[0], grid=None), show_progress)
            drawn = list(own.drawn)
            for rank, (other, part) in enumerate(zip(others, parts[1:], strict=True), 1):
                drawn += _finish(other, part, rank, len(parts), Path(place))
        finally:
            for other in others:
                if other.poll() is None:
                    other.kill()
                    other.wait()
    if job.grid is not None:
        _write_grid(job)
    return Drawing(drawn, own.load, own.attach, own.environment)


def _start(given: Mapping[str, Any], part: Sequence[Picture], rank: int, place: Path) -> subprocess.Popen[bytes]:
    options = {name: str(value) if name in PATHS else value for name, value in given.items() if name not in OWN}
    pictures = [[one.prompt, one.seed, str(one.path)] for one in part]
    task = {"given": options, "pictures": pictures, "answer": str(place / f"{rank}.json")}
    (place / f"{rank}.task").write_text(json.dumps(task), encoding="utf-8")
    seen = [word for word in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if word]
    device = seen[rank % len(seen)] if seen else str(rank)
    path = os.pathsep.join(filter(None, sys.path))
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": device, "PYTHONPATH": path}
    with open(place / f"{rank}.words", "wb") as words:
        command = [sys.executable, "-m", "fastdiffusers_cli.sharer", str(place / f"{rank}.task")]
        return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=words)


def _finish(other: subprocess.Popen[bytes], part: Sequence[Picture], rank: int, count: int, place: Path) -> list[Drawn]:
    """What another process drew, as if this one had."""
    from fastdiffusers.record import Record
    from fastdiffusers_cli.drawing import Drawn

    if other.wait() != 0:
        words = (place / f"{rank}.words").read_text(encoding="utf-8", errors="replace").strip().splitlines()
        last = words[-1].removeprefix("error: ") if words else f"exit code {other.returncode}"
        raise InputError(f"process {rank + 1} of {count} ended early: {last}")
    answers = json.loads((place / f"{rank}.json").read_text(encoding="utf-8"))
    drawn = []
    for picture, answer in zip(part, answers, strict=True):
        records = [Record(**{**record, "notes": tuple(record["notes"])}) for record in answer["records"]]
        drawn.append(Drawn(picture, answer["stages"], records, answer["truncated"], tuple(answer["notes"])))
    return drawn


def _write_grid(job: Job) -> None:
    from PIL import Image

    from fastdiffusers.png import grid, write_png

    assert job.grid is not None
    images = [Image.open(picture.path).convert("RGB") for picture in job.pictures]
    write_png(job.grid, grid(images, job.columns), {"grid": [picture.path.name for picture in job.pictures]})
