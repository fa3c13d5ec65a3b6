"""The whole bench in one call: plan the arms, measure them on a pipeline, report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from fastdiffusers.bench.arms import Arm, LeftOut, PlannedArm, order_arms, parse_arm, plan_arm
from fastdiffusers.bench.machine import describe_machine, on_gpu, synchronize
from fastdiffusers.bench.measure import Bench, Progress
from fastdiffusers.bench.memory import peak_memory
from fastdiffusers.bench.report import report
from fastdiffusers.bench.workload import Workload

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
) -> dict[str, Any]:
    """Compare ``arms`` (``"teacache:threshold=0.4"``, ``"none@14"`` …) on a loaded pipeline; returns the report.

    Args:
        controls: add plain sampling with as many steps as each cache computed.
        plugins: where accelerators are looked up; the process's registry by default.
        left_out, command: passed on to the report.
        progress: called before each run with what it is, how many are done, and how many there are.

    Raises a `UserError` for an arm that cannot be read or is refused, before anything runs. Ctrl-C is not raised: the
    report then has ``partial`` true and the complete rounds.
    """
    from fastdiffusers.plugins import registry
    from fastdiffusers.session import accelerate

    found = plugins or registry()

    def planned(arm: Arm) -> PlannedArm:
        return plan_arm(arm, found, pipe.info, workload.setting)

    ready = [planned(arm) for arm in order_arms(parse_arm(arm) if isinstance(arm, str) else arm for arm in arms)]
    machine = describe_machine()
    memory = peak_memory(on_gpu())
    bench = Bench(pipe, workload, accelerate, memory=memory, synchronize=synchronize, progress=progress)
    measurement = bench.measure(ready, planned if controls else None)
    dtype = str(getattr(pipe, "dtype", pipe.info.dtype)).rpartition(".")[2]
    model = {"name": pipe.info.name, "family": pipe.info.family, "sha256": pipe.info.sha256, "dtype": dtype}
    return report(measurement, machine, model, memory.method, left_out, command)
