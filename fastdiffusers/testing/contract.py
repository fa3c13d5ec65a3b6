"""What every accelerator promises, tried out on a small pipeline."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from fastdiffusers.accelerator import AcceleratorSpec
from fastdiffusers.adoption import adopt
from fastdiffusers.errors import PluginError
from fastdiffusers.plan import Request, make_plan
from fastdiffusers.plugins import Registry, registry
from fastdiffusers.record import Record
from fastdiffusers.request import trial_request
from fastdiffusers.spec_check import check_spec


class ContractViolation(PluginError):
    """An accelerator does not keep its contract; one sentence says which part and how."""


@dataclass(frozen=True)
class ContractReport:
    """What was checked, the accelerator's own record of the first run, and how long it took in seconds."""

    name: str
    record: Record
    checks: tuple[str, ...]
    seconds: float


def check_accelerator(
    spec: AcceleratorSpec | str,
    pipe: Any = None,
    options: Mapping[str, Any] | None = None,
    *,
    steps: int = 10,
    require_effect: bool = True,
    draw: Callable[..., Any] | None = None,
) -> ContractReport:
    """Try everything an accelerator promises; return a report, or raise a `ContractViolation` at the first breach.

    Checked: the specification is well formed and readable without Paddle; attach, run and detach leave every object of
    the pipeline and its output bit-identical, patch no class, module or flag, and free the accelerator; an attach that
    raises is rolled back; a second generation, one after an interrupted one, and one after a change of prompt, steps,
    size, batch or strength equal a fresh session's bit for bit; the branches of true CFG do not mix; the picture moves
    no further than the declared fidelity.

    Args:
        spec: the specification, or the name of an installed accelerator.
        pipe: a pipeline to try it on; a small FLUX with random weights (`tiny_flux`) when None.
        options: options to try it with; those of the specification's ``trial`` when None. Choose them so that it
            engages: an accelerator that does nothing passes anything.
        steps: sampling steps of most runs; one check runs three more.
        require_effect: refuse to certify an accelerator that had no effect in these runs.
        draw: for a ``pipe`` of another library, which `fastdiffusers.accelerate` adopts: ``draw(**arguments)`` runs it
            and returns its latents. Arguments are prompt, seed, num_inference_steps, height, width, and now and then
            num_images_per_prompt, image and strength, negative_prompt and true_cfg_scale, as the features say.

    Raises:
        ContractViolation: with a sentence for the author.
        PlanError: the options are wrong, or the accelerator refuses this pipeline.
    """
    from fastdiffusers.testing import checks
    from fastdiffusers.testing.runner import HeldRunner, Runner

    started = time.perf_counter()
    spec = _resolve(spec)
    checks.readable_without_paddle(spec)
    if pipe is None:
        from fastdiffusers.testing.tiny import tiny_flux

        pipe = tiny_flux()
    info = pipe.info if draw is None else _adopted_info(pipe)
    plugins = Registry()
    plugins.accelerators[spec.name] = spec
    setting = dataclasses.replace(info.default_setting, steps=steps)
    request = trial_request(spec) if options is None else Request(spec.name, dict(options))
    plan = make_plan([request], plugins, info, setting)
    plan.check()
    runner = Runner(pipe, plan, steps) if draw is None else HeldRunner(pipe, plan, steps, draw)
    (record,) = checks.leaves_no_trace(runner)
    if require_effect and not record.engaged:
        raise ContractViolation(
            f"{spec.name} had no effect on the test pipeline ({record.reason}); give options with which it engages"
        )
    done = ["readable without Paddle", "leaves no trace", f"fidelity {spec.fidelity.value}"]
    checks.failed_attach_is_rolled_back(runner)
    checks.generations_are_independent(runner)
    checks.interruption_is_forgotten(runner)
    done += ["failed attach is rolled back", "generations are independent", "interruption is forgotten"]
    if "true_cfg" in info.features:
        checks.branches_do_not_mix(runner)
        done.append("branches do not mix")
    return ContractReport(spec.name, record, tuple(done), time.perf_counter() - started)


def _adopted_info(pipe: Any) -> Any:
    adoption = adopt(pipe, registry())
    try:
        return adoption.pipe.info
    finally:
        adoption.undo()


def _resolve(spec: AcceleratorSpec | str) -> AcceleratorSpec:
    if isinstance(spec, str):
        known = registry().accelerators
        if spec not in known:
            broken = "; ".join(f"{p.name}: {p.reason}" for p in registry().plugins if p.status != "ok")
            raise ContractViolation(
                f"no accelerator {spec!r} is installed; installed: {', '.join(sorted(known)) or '(none)'}"
                + (f"; not loaded: {broken}" if broken else "")
            )
        return known[spec]
    try:
        check_spec(spec)
    except PluginError as error:
        raise ContractViolation(str(error)) from error
    return spec
