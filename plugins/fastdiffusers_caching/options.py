"""The options of the caches, as the command line, YAML and Python know them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


def option(default: Any, help: str, **limits: Any) -> Any:
    """A field of a config dataclass; ``limits``: ``min``, ``max``, ``choices``."""
    return field(default=default, metadata={"help": help, **limits})


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
    threshold: float = option(0.25, "accumulated predicted change at which a step is computed; 0 computes all", min=0.0)
    coefficients: str = coefficients()
    force: bool = force()
