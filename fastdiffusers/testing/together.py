"""Combinations of accelerators, tried on a pipeline: each of them engages, and the detach leaves no trace of any."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from fastdiffusers.composition import Combination
from fastdiffusers.errors import UserError
from fastdiffusers.plan import Plan
from fastdiffusers.record import Record
from fastdiffusers.testing import checks
from fastdiffusers.testing.contract import ContractViolation
from fastdiffusers.testing.runner import Runner


@dataclass(frozen=True)
class Trial:
    """A combination that was run; ``failure`` is empty where it did all that a plan promises."""

    names: tuple[str, ...]
    records: tuple[Record, ...] = ()
    failure: str = ""

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        records = [record.to_dict() for record in self.records]
        return {"accelerators": list(self.names), "ran": not self.failure, "failure": self.failure, "records": records}


def try_together(
    pipe: Any, combinations: Iterable[Combination], progress: Callable[[int], None] = lambda done: None
) -> Iterator[Trial]:
    """Attach, draw and detach each combination that goes; yields what came of it.

    ``pipe`` is the pipeline of the model that they were planned for, with nothing attached. A failed trial says why:
    an attach or a generation that raised, an accelerator without effect, a trace that the detach left.
    ``progress(done)`` is called after each.
    """
    baselines: dict[int, checks.Baseline] = {}
    for done, some in enumerate(combinations, start=1):
        if some.plan is not None and some.goes:
            yield _try(pipe, some.names, some.plan, baselines)
        progress(done)


def _try(pipe: Any, names: tuple[str, ...], plan: Plan, baselines: dict[int, checks.Baseline]) -> Trial:
    steps = _steps(plan)
    runner = Runner(pipe, plan, steps)
    if steps not in baselines:
        baselines[steps] = checks.take_baseline(Runner(pipe, dataclasses.replace(plan, items=()), steps))
    records: list[Record] = []
    try:
        records = checks.leaves_no_trace(runner, baselines[steps])
        idle = next((record for record in records if not record.engaged), None)
        failure = "" if idle is None else f"{idle.name} had no effect: {idle.reason}"
    except ContractViolation as error:
        failure = str(error)
    except UserError as error:
        failure = f"{runner.name}: {error}"
    return Trial(names, tuple(records), failure)


def _steps(plan: Plan) -> int:
    """The steps that the outermost accelerator sees: a distilled adapter changes them."""
    settings = [plan.setting, *(item.prediction.setting for item in plan.items)]
    return next(setting.steps for setting in reversed(settings) if setting is not None)
