"""The whole bench in one call: plan the arms, measure them on a pipeline, report."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastdiffusers import scorer
from fastdiffusers.bench.arms import Arm, LeftOut, PlannedArm, order_arms, parse_arm, plan_arm
from fastdiffusers.bench.machine import describe_machine, on_gpu, synchronize
from fastdiffusers.bench.measure import Bench, Measurement, Progress
from fastdiffusers.bench.memory import peak_memory
from fastdiffusers.bench.replay import check_replay, replay
from fastdiffusers.bench.report import report
from fastdiffusers.bench.rounds import Rounds
from fastdiffusers.bench.workload import Workload
from fastdiffusers.errors import InputError
from fastdiffusers.zoo import EMBEDDED

if TYPE_CHECKING:
    from fastdiffusers.plugins import Registry


def compare(
    pipe: Any,
    arms: Sequence[str | Arm],
    workload: Workload,
    *,
    controls: bool = True,
    plugins: Registry | None = None,
    left_out: Sequence[LeftOut] = (),
    command: str = "",
    progress: Progress = lambda what, done, total: None,
    features: bool = False,
    replayed: bool = False,
    keep: Path | None = None,
) -> dict[str, Any]:
    """Compare ``arms`` (``"teacache:threshold=0.4"``, ``"none@14"`` …) on a loaded pipeline; returns the report.

    Args:
        controls: add plain sampling with as many steps as each cache computed.
        plugins: where accelerators are looked up; the process's registry by default.
        left_out, command: passed on to the report.
        progress: called before each run with what it is, how many are done, and how many there are.
        features: price pictures by the distance in the scorer's features too; for the embedded models.
        replayed: replay the decisions of each cache on a larger model, when all rounds are done.
        keep: a file in which complete rounds are kept; those in it are not measured again.

    Raises a `UserError` for an arm that cannot be read or is refused, before anything runs. Ctrl-C is not raised: the
    report then has ``partial`` true and the complete rounds.
    """
    from fastdiffusers.plugins import registry
    from fastdiffusers.session import accelerate, dtype_of

    found = plugins or registry()
    dtype = dtype_of(pipe)

    def planned(arm: Arm) -> PlannedArm:
        return plan_arm(arm, found, pipe.info, workload.setting, dtype)

    check_extras(pipe.info, features, replayed)
    ready = [planned(arm) for arm in order_arms(parse_arm(arm) if isinstance(arm, str) else arm for arm in arms)]
    machine = describe_machine()
    memory = peak_memory(on_gpu())
    rounds = None
    if keep is not None:
        labels = [arm.arm.label for arm in ready]
        what = {"model": pipe.info.sha256, "workload": asdict(workload), "arms": labels, "controls": controls}
        rounds = Rounds(keep, {**what, "features": features, "threads": machine["threads"]})
    seen = scorer.load().features if features else None
    bench = Bench(pipe, workload, accelerate, time.perf_counter, memory, synchronize, progress, seen, rounds)
    measurement = bench.measure(ready, planned if controls else None)
    if replayed and not measurement.interrupted:
        _replay(measurement, pipe.info, rounds, progress)
    model = {"name": pipe.info.name, "family": pipe.info.family, "sha256": pipe.info.sha256, "dtype": dtype}
    data = report(measurement, machine, model, memory.method, left_out, command)
    if rounds is not None and not data["partial"]:
        rounds.remove()
    return data


def check_extras(info: Any, features: bool, replayed: bool) -> None:
    """Raise an `InputError` where the scorer or the replay mean nothing for a model."""
    if features and info.name not in EMBEDDED:
        raise InputError(f"the scorer knows the pictures of {', '.join(EMBEDDED)}, not those of {info.name}")
    if replayed:
        check_replay(info)


def _replay(measurement: Measurement, info: Any, rounds: Rounds | None, progress: Progress) -> None:
    """Replay what was measured; Ctrl-C leaves the rest without."""

    def model() -> Any:
        from fastdiffusers.bench.large_model import LargeModel

        return LargeModel(*check_replay(info))

    known, keep = (rounds.replays, rounds.keep_replay) if rounds is not None else ({}, lambda key, result: None)
    try:
        replay(measurement.arms, info, model, known, keep, progress)
    except KeyboardInterrupt:
        measurement.interrupted = True
