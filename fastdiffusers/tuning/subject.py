"""What is tuned: one option of one accelerator, beside everything else that was asked for. No Paddle."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fastdiffusers.accelerator import AcceleratorSpec, Setting
from fastdiffusers.bench.arms import Arm, PlannedArm, plan_arm
from fastdiffusers.errors import InputError, PlanError
from fastdiffusers.options import Option, build_config
from fastdiffusers.plan import make_plan
from fastdiffusers.profiles import Key
from fastdiffusers.request import NONE, Request, parse
from fastdiffusers.resolving import key_of, require_tunable, tunable_names, tuned_option, wants_profile
from fastdiffusers.tunable import Tunable

if TYPE_CHECKING:
    from fastdiffusers.models.info import ModelInfo
    from fastdiffusers.plugins import Registry


@dataclass(frozen=True)
class Subject:
    """The tuned option of ``spec``; ``beside`` are the other accelerators, attached in the uncached runs as well."""

    spec: AcceleratorSpec
    option: Option
    scale: Tunable
    start: float
    request: Request
    beside: tuple[Request, ...]
    key: Key
    registry: Registry
    info: ModelInfo
    setting: Setting

    @property
    def whole(self) -> bool:
        """Whether the option is an integer."""
        return self.option.type is int

    def words(self, value: float) -> str:
        """``threshold=0.3``."""
        return f"{self.option.name}={value:g}"

    def plain(self) -> PlannedArm:
        """The uncached runs."""
        return plan_arm(Arm(self.beside), self.registry, self.info, self.setting, self.key.dtype)

    def at(self, value: float) -> PlannedArm:
        """The runs with a value of the tuned option."""
        request = dataclasses.replace(self.request, options={**self.request.options, self.option.name: value})
        return plan_arm(Arm((*self.beside, request)), self.registry, self.info, self.setting, self.key.dtype)


def subject_of(
    words: str | Sequence[str], registry: Registry, info: ModelInfo, setting: Setting, dtype: str = "float32"
) -> Subject:
    """What ``words`` (``"dbcache:first=2"``, ``"cinn,seacache"``) ask to tune.

    Raises `PlanError` where that is nothing, or several things, or refused on this model.
    """
    requests = parse(words)
    if not requests:
        raise InputError(f"{NONE!r} has nothing to tune; these have: {', '.join(tunable_names(registry))}")
    for request in requests:
        if request.name in registry.accelerators and wants_profile(
            registry.accelerators[request.name], request.options
        ):
            raise PlanError(f"{request.name}: profile=… takes what was tuned; leave it out to tune")
    plan = make_plan(requests, registry, info, setting, dtype)
    able = []
    for request in requests:
        option = tuned_option(registry.accelerators[request.name], request.options)
        if option is not None and (len(requests) == 1 or option.name not in request.options):
            able.append(request)
    if len(able) > 1:
        names = " and ".join(request.name for request in able)
        raise PlanError(f"{names} could be tuned, which is done one at a time; give the others' options values")
    request = able[0] if able else requests[-1]
    spec = registry.accelerators[request.name]
    option = require_tunable(spec, request.options, registry, "tune")
    plan.check()
    assert option.tunable is not None
    beside = tuple(other for other in requests if other is not request)
    configs = {o.name: build_config(o.name, registry.accelerators[o.name].config, o.options) for o in beside}
    key = key_of(spec, option, request.options, configs, setting, dtype)
    default = getattr(build_config(spec.name, spec.config, request.options), option.name)
    start = _start(option.tunable, default, option.type is int)
    return Subject(spec, option, option.tunable, start, request, beside, key, registry, info, setting)


def _start(scale: Tunable, default: float | None, whole: bool) -> float:
    """The default where it lies within the range, else the middle."""
    if default is not None and scale.low <= default <= scale.high:
        return default
    return scale.between(scale.low, scale.high, whole) or scale.mild
