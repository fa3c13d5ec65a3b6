"""Attach a plan to a pipeline, report what it did, and take it off without a trace."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from types import TracebackType
from typing import Any

from fastdiffusers.accelerator import Accelerator, Setting, one_line
from fastdiffusers.adoption import adopt, is_ours
from fastdiffusers.context import StepContext
from fastdiffusers.errors import InputError, PlanError, PluginError, UserError
from fastdiffusers.plan import Plan, PlanItem, make_plan, other_model
from fastdiffusers.plugins import Registry, registry
from fastdiffusers.record import Record, expected_record, measured_record
from fastdiffusers.recorder import Recorder
from fastdiffusers.request import parse


def accelerate(
    pipe: Any, spec: str | Sequence[str] | Plan | None, *, plugins: Registry | None = None, **setting: Any
) -> Session:
    """Attach accelerators to ``pipe`` and return the `Session`; use it in ``with``, or call ``detach()``.

    Args:
        pipe: a loaded pipeline (it has ``info`` and ``context``), or one that another library built, of a family that
            an installed plugin recognises. The latter is used as before and given back unchanged by the detach;
            ``session.pipe`` stands for it.
        spec: words as on the command line (``"teacache:threshold=0.4,…"``), a list of them, a `Plan`, or None.
        plugins: the registry to look names up in; the process's own by default.
        setting: what the plan's prediction should assume: ``steps``, ``guidance``, ``height``, ``width``, ``batch``,
            ``strength``, ``true_cfg_scale``. The model's defaults otherwise.

    Raises:
        PlanError: unknown names or options, a refusal, a plan for another model, a session already attached.
        PluginError: an accelerator that cannot be loaded or attached; the pipeline is as it was before.
    """
    if is_ours(pipe):
        return Session(pipe, _plan(pipe, spec, plugins or registry(), setting))
    adoption = adopt(pipe, plugins or registry())
    try:
        return Session(adoption.pipe, _plan(adoption.pipe, spec, plugins or registry(), setting), adoption)
    except BaseException:
        adoption.undo()
        raise


class Session:
    """Accelerators attached to a pipeline. Everything is undone, exactly, by ``detach()`` or at the end of ``with``.

    Attributes:
        pipe: the pipeline, or what stands for one that another library built.
        plan: what was attached, from the inside out.
    """

    def __init__(self, pipe: Any, plan: Plan, adoption: Recorder | None = None) -> None:
        if not is_ours(pipe):
            raise InputError(f"a Session needs `info` and `context`, which {type(pipe).__name__} lacks; use accelerate")
        plan.check()
        if plan.info is not None and plan.info is not pipe.info and plan.sha256 != pipe.info.sha256:
            raise PlanError(other_model(plan.model, plan.sha256, pipe.info.name, pipe.info.sha256))
        self.pipe = pipe
        self.plan = plan
        self._adoption = adoption
        self._context: StepContext = pipe.context
        self._attached: list[tuple[PlanItem, Accelerator, Recorder]] = []
        self._final: list[Record] | None = None
        self._generation = self._context.generation
        self._attach()

    def report(self) -> list[Record]:
        """One record per accelerator: the plan's expectation before the first generation, afterwards what happened.

        After the detach it is the last state of affairs.
        """
        if self._final is not None:
            return list(self._final)
        if self._context.generation == self._generation:
            records = [expected_record(item) for item, _, _ in self._attached]
        else:
            records = [measured_record(item, accelerator) for item, accelerator, _ in self._attached]
        note = getattr(self.pipe.info, "note", "")
        return [dataclasses.replace(one, reason=f"{one.reason}; {note}") for one in records] if note else records

    def accelerator(self, name: str) -> Accelerator:
        """The attached accelerator called ``name`` (for its own statistics, for example)."""
        for item, accelerator, _ in self._attached:
            if item.spec.name == name:
                return accelerator
        names = ", ".join(item.spec.name for item, _, _ in self._attached) or "(none)"
        raise InputError(f"no accelerator {name!r} is attached; attached: {names}")

    def detach(self) -> None:
        """Take everything off, last attached first; a second call does nothing.

        What fails does not keep the rest from being undone; the first failure is then raised as a `PluginError`.
        """
        if self._final is None:
            self._final = self.report()
        failures = self._undo()
        if failures:
            raise PluginError(f"while detaching, {failures[0]}")

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.detach()
        except PluginError as failure:
            if error is None:
                raise
            # the first error matters more; Python 3.11 and later show the note beneath it
            error.__notes__ = [*getattr(error, "__notes__", []), str(failure)]  # type: ignore[attr-defined]

    def _attach(self) -> None:
        if self.plan.items and self._context.session is not None:
            names = ", ".join(item.spec.name for item in self._context.session.plan.items)
            raise PlanError(
                f"this pipeline already has a session attached ({names}); detach it or make one plan of both"
            )
        if self.plan.items:
            self._context.session = self
        for item in self.plan.items:
            recorder = Recorder(self.pipe, self._context)
            name = item.spec.name
            try:
                accelerator = item.spec.load()(item.config)
                self._attached.append((item, accelerator, recorder))
                accelerator.attach(self.pipe, recorder)
            except UserError as error:
                text = str(error) if name in str(error) else f"{name}: {error}"
                raise type(error)("; ".join([text, *self._undo()])) from error
            except Exception as error:
                text = f"accelerator {name!r} failed to attach: {one_line(error)}"
                raise PluginError("; ".join([text, *self._undo()])) from error
            except BaseException:  # Ctrl-C: undo as well, and pass it on
                self._undo()
                raise
        self._generation = self._context.generation

    def _undo(self) -> list[str]:
        failures = []
        while self._attached:
            item, _, recorder = self._attached[-1]
            failures += [f"{item.spec.name}: {one_line(error)}" for error in recorder.undo()]
            self._attached.pop()
        if self._context.session is self:
            self._context.session = None
        if self._adoption is not None:
            failures += [one_line(error) for error in self._adoption.undo()]
        return failures


def dtype_of(pipe: Any) -> str:
    """What a pipeline computes in: ``float32``, ``bfloat16`` or ``float16``."""
    return str(getattr(pipe, "dtype", pipe.info.dtype)).rpartition(".")[2]


def _plan(pipe: Any, spec: str | Sequence[str] | Plan | None, plugins: Registry, changes: dict[str, Any]) -> Plan:
    if not isinstance(spec, Plan):
        wanted = _setting(pipe.info.default_setting, changes)
        return make_plan(parse(spec), plugins, pipe.info, wanted, dtype_of(pipe))
    if changes:
        raise InputError(f"a Plan carries its setting; {', '.join(changes)} cannot be given beside it")
    return spec


def _setting(default: Setting, changes: dict[str, Any]) -> Setting:
    valid = [field.name for field in dataclasses.fields(Setting)]
    for name in changes:
        if name not in valid:
            raise InputError(f"unknown setting {name!r}; valid: {', '.join(valid)}")
    return dataclasses.replace(default, **changes)
