"""What a bench compares: arms, each a composition of accelerators and, if wanted, a number of steps of its own.

An arm is written ``SPEC[@STEPS]``: ``teacache:threshold=0.4``, ``lightning,cinn``, or ``none@14``, which is the control
"plain sampling with 14 steps". No Paddle here: arms are planned before a model is loaded.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fastdiffusers.accelerator import Setting
from fastdiffusers.errors import InputError, PlanError, UserError
from fastdiffusers.plan import Plan, make_plan
from fastdiffusers.request import ASKED, AUTOMATIC, NONE, Request, format_requests, parse

if TYPE_CHECKING:
    from fastdiffusers.models.info import ModelInfo
    from fastdiffusers.plugins import Registry

_STEPS = re.compile(r"(?P<spec>.*)@(?P<steps>[^@=:,]*)", re.DOTALL)


@dataclass(frozen=True)
class Arm:
    """One line of the comparison.

    Attributes:
        requests: the accelerators; empty for plain sampling.
        steps: sampling steps of this arm alone, None for those of the workload.
        source: ``"asked"``, or ``"automatic"`` for arms that the bench added.
        control_of: label of the arm that this one is the control of: the same number of network evaluations, plainly.
    """

    requests: tuple[Request, ...] = ()
    steps: int | None = None
    source: str = ASKED
    control_of: str = ""

    @property
    def label(self) -> str:
        """The words that name it in tables and that `parse_arm` reads back."""
        return format_requests(self.requests) + ("" if self.steps is None else f"@{self.steps}")


BASELINE = Arm(source=AUTOMATIC)


@dataclass(frozen=True)
class PlannedArm:
    """An arm with the plan that will be attached for it; ``plan.setting.steps`` are the steps it samples with."""

    arm: Arm
    plan: Plan

    @property
    def owns_steps(self) -> bool:
        """Whether one of its accelerators decides the number of steps (a distilled adapter)."""
        return any("steps" in item.spec.claims for item in self.plan.items)


@dataclass(frozen=True)
class LeftOut:
    """An installed accelerator that a bare bench does not compare, and why."""

    name: str
    reason: str


def parse_arm(text: str) -> Arm:
    """Read ``SPEC[@STEPS]``; a `UserError` says in one line what cannot be read.

    An ``@`` inside an option's value (``adapter=/a@b/c``) belongs to it, unless only digits follow to the end.
    """
    match = _STEPS.fullmatch(text)
    if match is None:
        return Arm(tuple(parse(text)))
    digits = match["steps"].strip()
    is_number = digits.isascii() and digits.isdigit()
    if not is_number and "=" in match["spec"].rpartition(",")[2]:
        return Arm(tuple(parse(text)))
    if not is_number or int(digits) < 1:
        raise InputError(f"cannot read the steps {digits!r} in {text!r}; an arm is SPEC or SPEC@STEPS, as in none@14")
    return Arm(tuple(parse(match["spec"])), int(digits))


def order_arms(arms: Iterable[Arm]) -> tuple[Arm, ...]:
    """The baseline first (added when absent), then the others as given; two equal arms are an `InputError`."""
    given = list(arms)
    labels = [arm.label for arm in given]
    for label in labels:
        if labels.count(label) > 1:
            raise InputError(
                f"the arm {label!r} is given twice; write none@STEPS to compare plain sampling with itself"
            )
    baseline = next((arm for arm in given if arm.label == NONE), BASELINE)
    return (baseline, *(arm for arm in given if arm.label != NONE))


def plan_arm(arm: Arm, registry: Registry, info: ModelInfo, setting: Setting, dtype: str = "float32") -> PlannedArm:
    """Plan ``arm`` for ``setting`` (with the arm's own steps); what is refused is a `PlanError` that names the arm."""
    own = setting if arm.steps is None else dataclasses.replace(setting, steps=arm.steps)
    try:
        plan = make_plan(arm.requests, registry, info, own, dtype)
        plan.check()
    except PlanError as error:
        raise PlanError(f"arm {arm.label!r}: {error}") from error
    return PlannedArm(arm, plan)


def installed_arms(
    registry: Registry, info: ModelInfo, setting: Setting
) -> tuple[tuple[Arm, ...], tuple[LeftOut, ...]]:
    """Every installed accelerator with its default options that can engage here, and the others with the reason."""
    arms: list[Arm] = []
    left_out: list[LeftOut] = []
    for name in sorted(registry.accelerators):
        arm = Arm((Request(name, {}, AUTOMATIC),), source=AUTOMATIC)
        reason = _why_not(arm, registry, info, setting)
        if reason:
            left_out.append(LeftOut(name, reason))
        else:
            arms.append(arm)
    broken = [record for record in registry.plugins if record.status != "ok"]
    left_out += [LeftOut(record.name, f"plugin {record.status}: {record.reason}") for record in broken]
    return tuple(arms), tuple(left_out)


def control_arm(of: PlannedArm, computed: float, steps: int, taken: Sequence[str]) -> Arm | None:
    """Plain sampling with as many steps as ``of`` computed (rounded, at least 1) of ``steps``.

    None when it computed all of them or when an arm of that name is there already.
    """
    arm = Arm((), max(1, round(computed)), AUTOMATIC, of.arm.label)
    return None if arm.steps is None or arm.steps >= steps or arm.label in taken else arm


def _why_not(arm: Arm, registry: Registry, info: ModelInfo, setting: Setting) -> str:
    try:
        plan = make_plan(arm.requests, registry, info, setting)
    except UserError as error:
        return str(error)
    if plan.refusals:
        return plan.refusals[0].reason
    idle = [item for item in plan.items if not item.prediction.engages]
    return f"would not engage: {idle[0].prediction.reason}" if idle else ""
