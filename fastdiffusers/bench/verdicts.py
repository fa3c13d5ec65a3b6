"""What a reader should not overlook in the figures, in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastdiffusers.bench.measure import ArmResult
from fastdiffusers.bench.spread import NOISY, noisiest


def notes(rows: Sequence[dict[str, Any]], arms: Sequence[ArmResult]) -> list[str]:
    """One sentence for each thing that limits what the table says: failures, no effect, noise, controls that win."""
    found: list[str] = []
    for row in rows:
        found += _about(row)
    found += _controls(rows)
    wobble = max((noisiest([(s.prompt, s.seconds) for s in arm.samples]) for arm in arms), default=1.0)
    if wobble > NOISY:
        found.append(f"noisy machine: the same run took up to {wobble:.2f} times as long as its fastest repetition")
    if rows and rows[0]["latency"]["n"] < 2:
        found.append("one round only: the times have no spread; raise --runs to trust them")
    return found


def _about(row: dict[str, Any]) -> list[str]:
    name = row["accel"]
    if row["error"]:
        return [f"{name} FAILED: {row['error']}"]
    found = []
    for record in row["records"]:
        engaged, runs = record["engaged_runs"], record["runs"]
        if engaged < runs:
            where = "" if engaged == 0 else f" in {runs - engaged} of {runs} runs"
            found.append(
                f"{name}: {record['name']} DID NOT ENGAGE{where}: {record['reason'].removeprefix('NO EFFECT: ')}"
            )
    if row["distinguishable"] is False:
        low, high = row["speedup_range"]
        found.append(f"{name}: its time is not distinguishable from the baseline's ({low:.2f} to {high:.2f} times)")
    if not row["repeatable"]:
        found.append(f"{name}: not repeatable: the same prompt and seed gave different latents")
    exact = [record["name"] for record in row["records"] if record.get("fidelity") == "exact"]
    if exact and len(exact) == len(row["records"]) and row["quality"] and not row["quality"]["identical_latents"]:
        found.append(f"{name}: promises the same bits, but its latents differ from the baseline's")
    return found


def _controls(rows: Sequence[dict[str, Any]]) -> list[str]:
    """An arm is only worth having if it beats plain sampling with as many network evaluations."""
    plain = {row["steps"]: row for row in rows[1:] if not row["records"] and not row["error"]}
    own_control = {row["control_of"]: row for row in plain.values() if row["control_of"]}
    found = []
    for row in rows:
        if row["error"] or row["computed_steps"] is None:
            continue
        control = own_control.get(row["accel"]) or plain.get(round(row["computed_steps"]))
        if control is None:
            continue
        own, other = _psnr(row), _psnr(control)
        if own is not None and other is not None and other > own:
            found.append(
                f"{row['accel']}: plain sampling with {control['steps']} steps is nearer to the baseline "
                f"({other:.1f} against {own:.1f} dB, {control['speedup']:.2f}× against {row['speedup']:.2f}×)"
            )
    return found


def _psnr(row: dict[str, Any]) -> float | None:
    quality = row["quality"]
    if not quality:
        return None
    return float("inf") if quality["identical"] else quality["psnr"]
