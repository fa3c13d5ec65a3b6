"""What a distillation would do, said without preparing examples or training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastdiffusers.caching.stack import stack_of
from fastdiffusers.distillation.data import DataOptions, source
from fastdiffusers.distillation.grid import flow_grid
from fastdiffusers.distillation.keys import DistillConfig
from fastdiffusers.distillation.method import check_teacher
from fastdiffusers.distillation.networks import STUDENT, Networks
from fastdiffusers.distillation.precision import mixed_precision
from fastdiffusers.distillation.starting import start_folder
from fastdiffusers.distillation.terms import term_class
from fastdiffusers.distillation.turns import Turns
from fastdiffusers.models.info import describe
from fastdiffusers.models.transformer_flux import FluxTransformer2DModel
from fastdiffusers.schedulers import FlowMatchEulerDiscreteScheduler
from fastdiffusers.training.tracker import check_tracker
from fastdiffusers.weights.layers import build_lazy
from fastdiffusers.weights.layout import read_config

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
    check_teacher(info)
    start = start_folder(config.start, info, config.drawn_steps) if config.start else None
    transformer = build_lazy(
        FluxTransformer2DModel, FluxTransformer2DModel.Config.from_dict(read_config(info.path / "transformer"))
    )
    scheduler = FlowMatchEulerDiscreteScheduler.from_config(info.scheduler())
    lora = (config.rank, config.alpha, config.targets) if config.train == "lora" else None
    networks = Networks(transformer, stack_of(info.family), lora, config.seed)
    frozen = sum(int(p.size) for p in networks.teacher.parameters() if p.stop_gradient)
    terms = [term_class(name, config.compat)(config, networks) for name in config.terms]
    groups: dict[str, Mapping[str, Any]] = {STUDENT: networks.parameters[STUDENT]}
    groups.update({group.name: group.parameters for term in terms for group in term.groups()})
    trained = {name: sum(int(p.size) for p in parameters.values()) for name, parameters in groups.items()}
    setting = info.default_setting
    side = config.resolution or setting.height
    grid = flow_grid(scheduler, info.tokens(side, side), config.solver_steps, config.phases)
    student_turns = Turns.of(config, opponents=len(groups) > 1).of_student(config.steps)
    bytes_needed = memory(config, frozen, sum(trained.values()))
    weights = ", ".join(f"{term.weight:g} × {name}" for term, name in zip(terms, config.terms, strict=True))
    found = source(DataOptions.of(config), info)
    lines = [
        f"teacher: {info.name}, {frozen / 1e6:.2f} M parameters, frozen",
        *([f"start: the adapter {str(start)!r}"] if start else []),
        *(f"{name}: {count / 1e6:.2f} M parameters, trained" for name, count in trained.items()),
        f"loss: {weights}",
        f"levels of the student's {config.phases} steps: {' '.join(f'{edge:.4f}' for edge in grid.edges)}",
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


def memory(config: DistillConfig, frozen: int, trained: int) -> int:
    """Bytes of the frozen weights, the trained ones with their gradients, moments and average."""
    width = 2 if config.precision.endswith("o2") else 4
    return frozen * width + trained * 4 * (2 + MOMENTS)
