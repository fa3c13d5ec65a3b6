"""Complete rounds on disk, so that a long bench can go on where it was. No Paddle.

One JSON object a line: first what is measured, then a line for each round and each replay. A line that was cut off by
whatever ended the process is dropped.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fastdiffusers.bench.measure import ArmResult, Sample, Taken
from fastdiffusers.bench.quality import Price
from fastdiffusers.bench.report import plain
from fastdiffusers.errors import InputError
from fastdiffusers.files import atomic_write

FORMAT = 1


class Rounds:
    """The rounds of one bench, kept in ``path``.

    ``what`` says what is measured, as JSON: a file about something else is an `InputError`, since its rounds would be
    mixed with others.
    """

    def __init__(self, path: Path, what: Mapping[str, Any]) -> None:
        self.path = path
        self._rounds: dict[int, dict[str, Any]] = {}
        self.replays: dict[str, dict[str, Any]] = {}
        head = {"format": FORMAT, **plain(dict(what))}
        lines = _read(path)
        if lines and lines[0] != head:
            raise InputError(f"{str(path)!r} has the rounds of another bench; remove it, or choose another --out")
        for line in lines[1:]:
            if "round" in line:
                self._rounds[line["round"]] = line
            else:
                self.replays[line["replay"]] = line["result"]
        with atomic_write(path) as temporary:  # without what was cut off
            temporary.write_text("".join(map(_line, lines or [head])), encoding="utf-8")

    def __len__(self) -> int:
        return len(self._rounds)

    def restore(self, number: int, arms: Sequence[ArmResult]) -> bool:
        """Give ``arms`` what is kept of a round; False if nothing is."""
        line = self._rounds.get(number)
        if line is None:
            return False
        for arm in arms:
            label = arm.planned.arm.label
            if label in line["runs"]:
                arm.take(_taken(line["runs"][label]))
            else:  # it takes part in no later round either
                arm.error = arm.error or line["errors"].get(label, "it has no part in the rounds that were kept")
        return True

    def keep(self, number: int, runs: Sequence[tuple[ArmResult, Taken]], arms: Sequence[ArmResult]) -> None:
        """Add a round."""
        errors = {arm.planned.arm.label: arm.error for arm in arms if arm.error}
        taken = {arm.planned.arm.label: _shown(run) for arm, run in runs}
        self._append({"round": number, "runs": taken, "errors": errors})

    def keep_replay(self, key: str, result: dict[str, Any]) -> None:
        """Add the result of a replay."""
        self._append({"replay": key, "result": plain(result)})

    def remove(self) -> None:
        """The bench is complete."""
        self.path.unlink(missing_ok=True)

    def _append(self, line: dict[str, Any]) -> None:
        with self.path.open("a", encoding="utf-8") as stream:
            stream.write(_line(line))
            stream.flush()
            os.fsync(stream.fileno())


def _read(path: Path) -> list[dict[str, Any]]:
    """The complete lines of a file, none if it does not exist."""
    lines: list[dict[str, Any]] = []
    if not path.is_file():
        return lines
    for text in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            line = json.loads(text)
        except ValueError:
            break
        if not isinstance(line, dict):
            break
        lines.append(line)
    return lines


def _line(content: Mapping[str, Any]) -> str:
    return json.dumps(content, ensure_ascii=False, allow_nan=False) + "\n"


def _shown(run: Taken) -> dict[str, Any]:
    shown: dict[str, Any] = plain(asdict(run))  # an infinite PSNR becomes null
    return shown


def _taken(shown: Mapping[str, Any]) -> Taken:
    cost = dict(shown["price"])
    cost["psnr"] = math.inf if cost["psnr"] is None else cost["psnr"]
    return Taken(Sample(**shown["sample"]), shown["attach_s"], Price(**cost), shown["digest"])
