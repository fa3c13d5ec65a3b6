"""A measurement as plain data: what ``--json`` prints, and what tables and Markdown are made from."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from fastdiffusers.bench.arms import LeftOut
from fastdiffusers.bench.measure import ArmResult, Measurement, computed_steps
from fastdiffusers.bench.quality import summarise
from fastdiffusers.bench.spread import distinguishable, spread
from fastdiffusers.bench.verdicts import notes

STAGES = ("text", "denoise", "decode")


def report(
    measurement: Measurement,
    machine: Mapping[str, Any],
    model: Mapping[str, Any],
    peak_memory_method: str = "not measured",
    left_out: Sequence[LeftOut] = (),
    command: str = "",
) -> dict[str, Any]:
    """The whole bench as JSON values; the first of ``rows`` is the baseline.

    Keys of a row: ``accel`` (the arm's words), ``engaged`` (everything asked for did something in every timed run; true
    for plain sampling, which asks for nothing), ``latency`` {median, min, max, n} in seconds, ``stages`` (medians, s),
    ``speedup`` (baseline median / median), ``speedup_range`` (smallest and largest ratio within one round),
    ``distinguishable`` (from the baseline's time; null for fewer than two rounds), ``peak_memory_mb`` (MiB, null when
    not measured), ``attach_s``, ``warmup_s``, ``compile_s`` (as the accelerator reports it; null when none does),
    ``quality`` (see `fastdiffusers.bench.quality.summarise`), ``records``, ``steps``, ``computed_steps`` (median of
    those that were evaluated in full, where an accelerator counts them), ``computed`` (mean share of the network that
    was evaluated, in terms of the baseline's steps), ``held_bytes`` (most that an accelerator says to have held),
    ``replay`` (see `fastdiffusers.bench.replay.replay`), ``control_of``, ``repeatable``, ``error``.
    """
    workload, setting = measurement.workload, measurement.workload.setting
    arms = measurement.arms if measurement.rounds else []
    rows = [_row(arm, arms[0]) for arm in arms]
    data = {
        "machine": dict(machine),
        "baseline": "none",
        "rows": rows,
        "notes": notes(rows, arms),
        "left_out": [{"name": item.name, "reason": item.reason} for item in left_out],
        "model": dict(model),
        "settings": {
            "steps": setting.steps,
            "guidance": setting.guidance,
            "height": setting.height,
            "width": setting.width,
            "runs": workload.runs,
            "rounds": measurement.rounds,
            "rounds_planned": workload.rounds,
            "prompts": list(workload.prompts),
            "seeds": list(workload.seeds),
        },
        "peak_memory_method": peak_memory_method,
        "partial": measurement.interrupted,
        "command": command,
    }
    found: dict[str, Any] = plain(data)
    return found


def _row(arm: ArmResult, baseline: ArmResult) -> dict[str, Any]:
    latency = spread([sample.seconds for sample in arm.samples])
    base = spread([sample.seconds for sample in baseline.samples])
    ratios = _paired(baseline, arm)
    peaks = [sample.peak_mb for sample in arm.samples if sample.peak_mb is not None]
    return {
        "accel": arm.planned.arm.label,
        "engaged": _engaged(arm),
        "latency": latency,
        "stages": _stages(arm),
        "speedup": None if latency is None or base is None else base["median"] / latency["median"],
        "speedup_range": [min(ratios), max(ratios)] if ratios else None,
        "distinguishable": None if arm is baseline else distinguishable(ratios),
        "peak_memory_mb": max(peaks, default=None),
        "attach_s": statistics.median(arm.attach_s) if arm.attach_s else None,
        "warmup_s": arm.warmup_s,
        "compile_s": _compile_seconds(arm),
        "quality": summarise(list(arm.prices.values())),
        "records": _records(arm),
        "steps": arm.samples[-1].steps if arm.samples else None,
        "computed_steps": _computed(arm),
        "computed": _share(arm, baseline),
        "held_bytes": _held(arm),
        "replay": arm.replayed,
        "control_of": arm.planned.arm.control_of or None,
        "repeatable": arm.repeatable,
        "error": arm.error or None,
    }


def _paired(baseline: ArmResult, arm: ArmResult) -> list[float]:
    """Baseline time / arm time for each round that both took part in; an arm only ever drops out at the end."""
    return [base.seconds / own.seconds for base, own in zip(baseline.samples, arm.samples, strict=False)]


def _stages(arm: ArmResult) -> dict[str, float | None]:
    return {
        name: statistics.median(values)
        if (values := [s.stages[name] for s in arm.samples if name in s.stages])
        else None
        for name in STAGES
    }


def _engaged(arm: ArmResult) -> bool:
    asked = len(arm.planned.plan.items)
    return not arm.error and all(
        len(sample.records) == asked and all(record["engaged"] for record in sample.records) for sample in arm.samples
    )


def _records(arm: ArmResult) -> list[dict[str, Any]]:
    """The records of the last timed run, each with in how many runs it engaged and the different effects it had."""
    if not arm.samples:
        return arm.warm_records[0] if arm.warm_records else []
    runs = len(arm.samples)
    found = []
    for position, record in enumerate(arm.samples[-1].records):
        same = [sample.records[position] for sample in arm.samples]
        effects = list(dict.fromkeys(str(one["effect"]) for one in same))
        found.append(
            {**record, "engaged_runs": sum(bool(one["engaged"]) for one in same), "runs": runs, "effects": effects}
        )
    return found


def _compile_seconds(arm: ArmResult) -> float | None:
    found = [
        (record.get("stats") or {}).get("compile_s") for record in (arm.warm_records[0] if arm.warm_records else [])
    ]
    seconds = [float(value) for value in found if isinstance(value, int | float)]
    return sum(seconds) if seconds else None


def _computed(arm: ArmResult) -> float | None:
    found = [computed_steps(sample.records) for sample in arm.samples]
    counts = [count[0] for count in found if count is not None]
    return statistics.median(counts) if counts else None


def _share(arm: ArmResult, baseline: ArmResult) -> float | None:
    """Mean over the runs of evaluations / steps of the baseline; known of plain sampling, and where it is counted."""
    if not arm.samples:
        return None
    if not arm.planned.plan.items:
        return arm.samples[0].steps / baseline.samples[0].steps
    found = [computed_steps(sample.records) for sample in arm.samples]
    shares = [count[0] / baseline.samples[0].steps for count in found if count is not None]
    return statistics.fmean(shares) if shares else None


def _held(arm: ArmResult) -> int | None:
    found = [
        int(held)
        for sample in arm.samples
        for record in sample.records
        if isinstance(held := (record.get("stats") or {}).get("bytes"), int)
    ]
    return max(found, default=None)


def plain(value: Any) -> Any:
    """``value`` as JSON can hold it: no infinities, no numpy scalars, no tuples."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)
