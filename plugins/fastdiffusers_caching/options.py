"""The options of the caches, as the command line, YAML and Python know them."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class TeaCacheConfig:
    """Options of ``teacache``; on FLUX.1-dev thresholds of 0.25 / 0.4 / 0.6 / 0.8 are published as 1.5 to 2.25×."""

    threshold: float = field(
        default=0.25,  # the mildest published one; on the embedded model more than twice as fast at 32 dB
        metadata={"help": "accumulated predicted change at which a step is computed; 0 computes all", "min": 0.0},
    )
    coefficients: str = field(
        default="auto",
        metadata={
            "help": "polynomial from probe change to output change: auto takes the model's own calibration, or the "
            "published one on FLUX.1-dev; identity uses none",
            "choices": ("auto", "flux.1-dev", "identity"),
        },
    )
    force: bool = field(
        default=False, metadata={"help": "allow it below 8 steps, where a skipped step costs visible quality"}
    )
