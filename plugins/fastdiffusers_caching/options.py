"""The options of the caches, as the command line, YAML and Python know them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from fastdiffusers.tunable import Tunable


def option(default: Any, help: str, **limits: Any) -> Any:
    """A field of a config dataclass; ``limits``: ``min``, ``max``, ``choices``, ``tunable``."""
    return field(default=default, metadata={"help": help, **limits})


def threshold(default: float | None, help: str, low: float, high: float) -> Any:
    """The option that says how much may change before work is done again; worth trying from ``low`` to ``high``.

    Quantised weights add their own noise to every change, so the default is raised by half there.
    """
    return option(default, help, min=0.0, tunable=Tunable(low, high, quantized=1.5))


def interval(default: int | None, help: str) -> Any:
    """The option that says every how many steps one is computed in full; more than 10 leaves nothing of a picture."""
    return option(default, help, min=1, tunable=Tunable(2, 10))


def force() -> Any:
    """The option ``force`` that every cache has."""
    return option(False, "allow it below 8 steps, where a skipped step costs visible quality")


def coefficients() -> Any:
    """The option ``coefficients`` of the caches that rescale the probe's change."""
    return option(
        "auto",
        "polynomial from probe change to output change: auto takes the model's own calibration, or the "
        "published one on FLUX.1-dev; identity uses none",
        choices=("auto", "flux.1-dev", "identity"),
    )


@dataclass(frozen=True)
class TeaCacheConfig:
    """Options of ``teacache``; on FLUX.1-dev thresholds of 0.25 / 0.4 / 0.6 / 0.8 are published as 1.5 to 2.25×."""

    # the default is the mildest published one; on the embedded model more than twice as fast at 32 dB
    threshold: float = threshold(
        0.25, "accumulated predicted change at which a step is computed; 0 computes all", 0.02, 2.0
    )
    coefficients: str = coefficients()
    force: bool = force()
