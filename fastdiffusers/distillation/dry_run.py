"""What a distillation would do, said without preparing examples or training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastdiffusers.counting import counted
from fastdiffusers.distillation.data import DataOptions, source
from fastdiffusers.distillation.keys import DistillConfig
from fastdiffusers.distillation.method import teacher_family
from fastdiffusers.distillation.networks import STUDENT, TARGET
from fastdiffusers.distillation.precision import mixed_precision
from fastdiffusers.distillation.starting import made_for, start_folder
from fastdiffusers.distillation.terms import term_class
from fastdiffusers.distillation.turns import Turns
from fastdiffusers.models.info import describe
from fastdiffusers.training.tracker import check_tracker

MOMENTS = 3
"""float32 numbers kept of a trained parameter beside itself: two moments and the moving average."""


def describe_distillation(config: DistillConfig) -> tuple[list[str], dict[str, Any]]:
    """Lines for people and figures for JSON: roles, trained parameters, memory, levels, schedule, examples.

    The networks are built, so that a size or term that does not fit is found here; the teacher's weights are not read
    and take no memory.
    """
    check_tracker(config.tracker)
    mixed_precision(config.precision)
    info = describe(config.model)
    family = teacher_family(info)
    family.check(config)
    start = start_folder(config.start, info, config.drawn_steps) if config.start else None
    networks = family.roles(family.network(), config)
    frozen = sum(int(p.size) for p in networks.teacher.parameters() if p.stop_gradient)
    terms = [term_class(name, config.compat)(config, networks) for name in config.terms]
    groups: dict[str, Mapping[str, Any]] = {STUDENT: networks.parameters[STUDENT]}
    groups.update({group.name: group.parameters for term in terms for group in term.groups()})
    trained = {name: sum(int(p.size) for p in parameters.values()) for name, parameters in groups.items()}
    setting = info.default_setting
    side = config.resolution or setting.height
    grid = family.grid(config, (side, side))
    student_turns = Turns.of(config, opponents=len(groups) > 1).of_student(config.steps)
    bytes_needed = memory(config, frozen, trained)
    weights = ", ".join(f"{term.weight:g} × {name}" for term, name in zip(terms, config.terms, strict=True))
    found = source(DataOptions.of(config), info)
    lines = [
        f"teacher: {info.name}, {frozen / 1e6:.2f} M parameters, frozen",
        *([", ".join(filter(None, (f"start: the adapter {str(start)!r}", made_for(start))))] if start else []),
        *(f"{name}: {count / 1e6:.2f} M parameters, trained" for name, count in trained.items()),
        *([f"{TARGET}: the student's average, decay {config.target_ema:g}"] if config.target_ema else []),
        f"loss: {weights}",
        f"levels of the student's {counted(config.phases, 'step')}: {' '.join(f'{edge:.4f}' for edge in grid.edges)}"
        + ("" if config.shift is None else f", shifted by {config.shift:g}"),
        f"schedule: {config.steps} steps of {config.batch * config.accumulation} examples, {student_turns} of them the "
        f"student's, learning rate {config.lr:g}",
        f"examples: {found.describe()}",
        f"memory of weights and optimisers: {bytes_needed / 2**30:.2f} GiB in each process, activations not counted",
    ]
    return lines, {
        "trained_parameters": trained,
        "frozen_parameters": frozen,
        "student_steps": student_turns,
        "memory_gib": round(bytes_needed / 2**30, 3),
        "levels": [float(edge) for edge in grid.edges],
    }


def memory(config: DistillConfig, frozen: int, trained: Mapping[str, int]) -> int:
    """Bytes of the frozen weights, the trained ones with their gradients, moments and average, and of a target."""
    width = 2 if config.precision.endswith("o2") else 4
    target = trained[STUDENT] * 4 if config.target_ema else 0
    return frozen * width + sum(trained.values()) * 4 * (2 + MOMENTS) + target
