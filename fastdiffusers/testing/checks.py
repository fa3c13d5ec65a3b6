"""One function for each promise; each raises a `ContractViolation` whose sentence tells the author what to mend."""

from __future__ import annotations

import dataclasses
import gc
import json
import os
import subprocess
import sys
import weakref
from collections.abc import Iterable
from typing import Any

import numpy as np

from fastdiffusers.accelerator import Accelerator, AcceleratorSpec, Fidelity
from fastdiffusers.context import UNCOND
from fastdiffusers.errors import InputError, UserError
from fastdiffusers.patching import patch
from fastdiffusers.record import Record
from fastdiffusers.recorder import Recorder
from fastdiffusers.testing.contract import ContractViolation
from fastdiffusers.testing.runner import OTHER_PROMPT, PROMPT, Runner
from fastdiffusers.testing.snapshot import Snapshot

_ADVICE = "keep the state of a picture in recorder.state, or clear it in recorder.on_reset"
_LIGHT = """
import importlib, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
sys.exit(3 if "paddle" in sys.modules else 0)
"""


def readable_without_paddle(spec: AcceleratorSpec) -> None:
    """The modules that define the options and the prediction import, in a new process, without Paddle."""
    modules = {spec.config.__module__, getattr(spec.predict, "__module__", None)}
    names = sorted(name for name in modules if name and name not in ("__main__", "builtins"))
    path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
    done = subprocess.run(
        [sys.executable, "-c", _LIGHT, *names],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if done.returncode == 3:
        raise ContractViolation(
            f"{spec.name}: importing {' and '.join(names)} imports Paddle; keep options, specification and "
            "predict in a light module and name the accelerator's class by target"
        )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise ContractViolation(f"{spec.name}: {' and '.join(names)} cannot be imported in a new process: {last}")


def leaves_no_trace(runner: Runner, baseline: Baseline | None = None) -> list[Record]:
    """Attach, run, detach: objects and output are as before, bit for bit; the records can be written as JSON.

    ``baseline`` saves time where several plans are tried on one pipeline.
    """
    name = runner.name
    listeners = runner.settle()
    before, ignore, plain = baseline or take_baseline(runner)

    session = runner.attach()
    try:
        _no_shared_changes(name, before, runner.snapshot(before), ignore, "attach")
        moved = runner.draw("a generation", output_type="np")
        _no_shared_changes(name, before, runner.snapshot(before), ignore, "a generation")
        records = session.report()
        alive = [weakref.ref(session.accelerator(item.spec.name)) for item in runner.plan.items]
        for record in records:
            _is_json(record.name, record)
    finally:
        runner.detach(session)
    _same_objects(name, before, runner.snapshot(before), ignore, "after the detach")
    if session.pipe.context.listeners != listeners:
        raise ContractViolation(f"{name}: the step context still has callbacks of it after the detach")
    session.detach()  # once more is harmless
    del session
    gc.collect()
    if any(reference() is not None for reference in alive):
        raise ContractViolation(
            f"{name}: something still holds the accelerator after the detach, and with it its memory"
        )
    if not _equal(runner.draw("a generation after the detach", output_type="np"), plain):
        raise ContractViolation(f"{name}: the output after the detach is not the output before the attach")
    _keeps_fidelity(name, loosest(item.fidelity for item in runner.plan.items), plain, moved)
    return records


def failed_attach_is_rolled_back(runner: Runner) -> None:
    """When the last thing in attach fails, nothing of what it had done is left."""
    before, ignore, plain = take_baseline(runner)
    item = runner.plan.items[0]
    fields = {f.name: getattr(item.spec, f.name) for f in dataclasses.fields(AcceleratorSpec)}
    plan = dataclasses.replace(runner.plan, items=(dataclasses.replace(item, spec=_FailingSpec(**fields)),))
    try:
        runner.open(plan)
    except UserError:
        pass
    else:
        raise InputError("the failing attach of the contract kit did not fail")
    _same_objects(runner.name, before, runner.snapshot(before), ignore, "after an attach that failed")
    if not _equal(runner.draw("a generation after an attach that failed", output_type="np"), plain):
        raise ContractViolation(f"{runner.name}: after an attach that failed the output is another")


def generations_are_independent(runner: Runner) -> None:
    """In one session, every generation equals the one that a fresh session gives, whatever was drawn before it."""
    wanted = {"nothing": runner.fresh()}
    variants = runner.variants()
    for what, changes in variants.items():
        wanted[what] = runner.fresh(**changes)
    session = runner.attach()
    try:
        runner.draw("the first generation")
        for what, changes in {"nothing": {}, **variants}.items():
            found = runner.draw(f"a second generation with a change of {what}", **changes)
            if not _equal(found, wanted[what]):
                raise ContractViolation(
                    f"{runner.name}: after an earlier generation, one with a change of {what} differs from a fresh "
                    f"session's; {_ADVICE}"
                )
            if not _equal(runner.draw(f"a generation after a change of {what} and back"), wanted["nothing"]):
                raise ContractViolation(f"{runner.name}: a change of {what} and back gives another picture; {_ADVICE}")
    finally:
        session.detach()


def interruption_is_forgotten(runner: Runner) -> None:
    """A generation that was interrupted half-way (Ctrl-C) leaves nothing to the next one."""
    session = runner.attach()
    context = session.pipe.context
    real_at = context.at

    def at(step: int, *rest: Any, **named: Any) -> None:
        real_at(step, *rest, **named)
        if step == runner.steps // 2:
            raise _Interruption

    try:
        restore = patch(context, "at", at)
        try:
            runner.draw("an interrupted generation", prompt=OTHER_PROMPT)
        except _Interruption:
            pass
        finally:
            restore()
        if not _equal(runner.draw("the generation after an interrupted one"), runner.fresh()):
            raise ContractViolation(f"{runner.name}: after an interrupted generation the next one is not a fresh one's")
    finally:
        session.detach()


def branches_do_not_mix(runner: Runner) -> None:
    """What the unconditional branch computes does not reach the conditional one through the accelerator.

    True CFG is run with another negative prompt, but the answer to it is replaced by the conditional one.
    The pictures must then be those of a run without true CFG, unless state is shared between the branches.
    """
    session = runner.attach()
    context, transformer = session.pipe.context, session.pipe.transformer
    transformer = getattr(transformer, "layer", transformer)  # what stands for another library's has the real one there
    real_forward = transformer.forward
    answers: list[Any] = []
    counts = {"uncond": 0}

    def forward(*inputs: Any, **named: Any) -> Any:
        answer = real_forward(*inputs, **named)
        if context.branch != UNCOND:
            answers[:] = [answer]
            return answer
        if not answers:
            raise InputError("this pipeline runs the unconditional branch first; the contract kit needs it second")
        counts["uncond"] += 1
        return answers[0]

    restore = patch(transformer, "forward", forward)
    try:
        guided = {"negative_prompt": OTHER_PROMPT, "true_cfg_scale": 3.0}
        found = runner.draw("a generation with true CFG", **guided)
    finally:
        restore()
        session.detach()
    if not counts["uncond"]:
        raise InputError("the test pipeline says it has true_cfg but never ran the unconditional branch")
    if not _equal(found, runner.fresh()):
        raise ContractViolation(
            f"{runner.name}: the branches of true CFG mix: the unconditional one changes what the conditional one "
            "computes; keep state in recorder.state, which has one for each branch"
        )
    same = {"negative_prompt": PROMPT, "true_cfg_scale": 3.0}
    difference, scale = _difference(runner.fresh(**same), runner.fresh())
    if difference > 1e-3 * scale:
        raise ContractViolation(
            f"{runner.name}: true CFG with an equal negative prompt moves latents by {difference:.2g} of {scale:.2g}"
            "; both branches see the same, so they should decide the same"
        )


Baseline = tuple[Snapshot, set[str], np.ndarray]


class _Interruption(BaseException):
    """Stands for Ctrl-C."""


class _FailingSpec(AcceleratorSpec):
    """A specification whose accelerator attaches and then fails."""

    def load(self) -> type[Accelerator]:
        class Failing(super().load()):  # type: ignore[misc]
            def attach(self, pipe: Any, recorder: Recorder) -> None:
                super().attach(pipe, recorder)
                raise RuntimeError("the contract kit made this attach fail")

        return Failing


def loosest(fidelities: Iterable[Fidelity]) -> Fidelity:
    """How far the picture may move under all of them at once."""
    return max(fidelities, key=list(Fidelity).index)


def take_baseline(runner: Runner) -> Baseline:
    """The pipeline after a plain run, what changes from one plain run to the next anyway, and the plain output."""
    runner.settle()
    first = runner.draw("a generation without it", output_type="np")
    one = runner.snapshot()
    second = runner.draw("a generation without it", output_type="np")
    two = runner.snapshot()
    if not _equal(first, second):
        raise InputError(
            "the test pipeline does not give the same output twice for the same seed; nothing can be checked"
        )
    return two, set(one.changes(two)), second


def _same_objects(name: str, before: Snapshot, after: Snapshot, ignore: set[str], when: str) -> None:
    changes = before.changes(after, ignore)
    if changes:
        first = next(iter(changes.values()))
        more = f" (and {len(changes) - 1} more)" if len(changes) > 1 else ""
        raise ContractViolation(f"{name}: {when}, {first}{more}; change the pipeline only through the recorder")


def _no_shared_changes(name: str, before: Snapshot, after: Snapshot, ignore: set[str], when: str) -> None:
    shared = [s for path, s in before.changes(after, ignore).items() if path.startswith(("class ", "module "))]
    if shared:
        raise ContractViolation(f"{name}: {when} changed what all pipelines share: {shared[0]}; patch instances only")


def _keeps_fidelity(name: str, fidelity: Fidelity, plain: np.ndarray, moved: np.ndarray) -> None:
    if plain.shape != moved.shape or not np.isfinite(moved).all():
        raise ContractViolation(f"{name}: the output has another shape or is not finite")
    if fidelity is Fidelity.EXACT and not _equal(plain, moved):
        raise ContractViolation(f"{name}: it declares fidelity exact, but the output has other bits")
    difference, scale = _difference(plain, moved)
    if fidelity is Fidelity.NUMERIC and difference > 1e-4 * scale:
        raise ContractViolation(
            f"{name}: it declares fidelity numeric (1e-4), but the latents move by {difference:.2g} of {scale:.2g}"
        )


def _is_json(name: str, record: Record) -> None:
    try:
        json.dumps(record.to_dict(), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ContractViolation(f"{name}: its record cannot be written as JSON: {error}") from error


def _equal(one: np.ndarray, two: np.ndarray) -> bool:
    return one.shape == two.shape and one.tobytes() == two.tobytes()


def _difference(one: np.ndarray, two: np.ndarray) -> tuple[float, float]:
    return float(np.abs(one - two).max()), max(float(np.abs(two).max()), 1e-12)
