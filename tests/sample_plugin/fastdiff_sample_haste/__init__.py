"""Haste: in the late steps, when only detail is left to draw, run fewer of the single blocks.

This file is what listing and planning read; it imports no Paddle and not the method either.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from fastdiffusers.accelerator import AcceleratorSpec, Fidelity, Kind, Prediction, Setting
from fastdiffusers.hookspecs import hookimpl
from fastdiffusers.tunable import Tunable


@dataclass(frozen=True)
class HasteConfig:
    """How much is left out, and from when on."""

    skip: float = field(
        default=0.25,
        metadata={
            "help": "fraction of the single blocks left out",
            "min": 0,
            "max": 1,
            "tunable": Tunable(0.05, 1.0, log=False),  # what `fastdiff tune --accel haste` may choose from
        },
    )
    start: float = field(default=0.5, metadata={"help": "part of the steps that stays complete", "min": 0, "max": 1})


def skipped_blocks(count: int, fraction: float) -> list[int]:
    """Indices of the blocks left out: ``fraction`` of ``count``, evenly spread."""
    number = round(count * fraction)
    return [int((i + 0.5) * count / number) for i in range(number)]


def first_step(steps: int, start: float) -> int:
    """The first step at which blocks are left out."""
    return round(steps * start)


def predict(config: HasteConfig, info: Any, setting: Setting) -> Prediction:
    """Known exactly beforehand: the choice depends on the step only."""
    count = int(info.transformer["num_single_layers"])
    blocks, late = len(skipped_blocks(count, config.skip)), setting.steps - first_step(setting.steps, config.start)
    if not blocks or not late:
        return Prediction(
            False, f"skip={config.skip:g} of {count} single blocks from start={config.start:g} is nothing"
        )
    text = f"leaves out {blocks} of {count} single blocks in {late} of {setting.steps} steps"
    return Prediction(True, "late steps draw detail only", text)


HASTE = AcceleratorSpec(
    name="haste",
    kind=Kind.SCHEDULE,
    summary="Leaves out single blocks in the late steps.",
    target="fastdiff_sample_haste.method:Haste",
    config=HasteConfig,
    claims=frozenset({"depth"}),
    # it replaces the loop over the blocks: caches that would walk the blocks past it are refused
    tags=frozenset({"fused-loop"}),
    requires=frozenset({"blocks"}),
    fidelity=Fidelity.LOSSY,
    predict=predict,
)


@hookimpl
def register_accelerators() -> list[AcceleratorSpec]:
    """The one accelerator of this package."""
    return [HASTE]
