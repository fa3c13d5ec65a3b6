"""``fastdiff bench --training``: the table of a training's throughput."""

from __future__ import annotations

import json as json_module
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fastdiffusers.errors import InputError
from fastdiffusers_cli.output import print_json, print_note, print_table

METHOD = "pcm"
COLUMNS = ("devices", "batch", "s/step", "samples/s", "per device", "efficiency", "memory MiB")


def bench_training(
    words: Sequence[str], devices: str | None, others: Mapping[str, Any], out: Path | None, json: bool
) -> None:
    """Measure and show. ``words`` are those of ``fastdiff distill``: a method and recipe keys; ``others`` are options
    of bench that were given and say nothing here."""
    from fastdiffusers.plugins import registry
    from fastdiffusers.training.throughput import STEPS, measure

    if others:
        names = ", ".join(f"--{name.replace('_', '-')}" for name in others)
        raise InputError(
            f"{names}: not of --training; valid: --devices, --model, --recipe, --out, --json, a method, KEY=VALUE …"
        )
    method, *rest = words if words and words[0] in registry().distillers else [METHOD, *words]
    steps = [word for word in rest if word.startswith("steps=")]
    rest = [word for word in rest if word not in steps]
    count = _number(steps[-1].partition("=")[2], "steps") if steps else STEPS
    rows = measure(method, rest, _devices(devices), count, print_note)
    found = [row.to_dict(rows[0]) for row in rows]
    report = {"method": method, "keys": rest, "steps": count, "rows": found}
    if out is not None:
        _write(report, out)
    if json:
        print_json(report)
    else:
        print_table(COLUMNS, [_cells(row) for row in found], right=COLUMNS)


def _devices(text: str | None) -> list[int]:
    """``1,2,4``; by default one and all GPUs, or one and two processes on a CPU."""
    if text is None:
        import paddle

        most = paddle.device.cuda.device_count() if paddle.is_compiled_with_cuda() else 2
        return sorted({1, max(1, most)})
    return [_number(word, "--devices") for word in text.split(",")]


def _number(text: str, what: str) -> int:
    if not text.strip().isdecimal() or int(text) < 1:
        raise InputError(f"{what} {text!r} is not valid; it must be a whole number of at least 1, as in --devices 1,2")
    return int(text)


def _cells(row: Mapping[str, Any]) -> list[str]:
    memory = "–" if row["memory_mb"] is None else f"{row['memory_mb']:.0f}"
    speeds = [f"{row[name]:.3g}" for name in ("step_s", "samples_per_s", "samples_per_s_per_device")]
    return [str(row["devices"]), str(row["batch"]), *speeds, f"{row['scaling_efficiency']:.0%}", memory]


def _write(report: Mapping[str, Any], out: Path) -> None:
    from fastdiffusers.files import atomic_write

    if out.suffix.lower() == ".json":
        text = json_module.dumps(report, indent=2) + "\n"
    else:
        lines = [COLUMNS, ["---:"] * len(COLUMNS), *(_cells(row) for row in report["rows"])]
        text = "".join(f"| {' | '.join(line)} |\n" for line in lines)
    with atomic_write(out) as temporary:
        temporary.write_text(text, encoding="utf-8")
