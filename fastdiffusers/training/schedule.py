"""The learning rate over the steps."""

from __future__ import annotations

import math

from fastdiffusers.training.recipe import TrainerConfig


def learning_rate(config: TrainerConfig, step: int) -> float:
    """Linear warm-up, a plateau, then a fall to zero over the last ``decay_fraction`` of the steps."""
    rate = config.lr * min(1.0, (step + 1) / max(1, config.warmup_steps))
    decay_steps = config.decay_fraction * config.steps
    if config.schedule == "constant" or decay_steps <= 0:
        return rate
    left = min(1.0, max(0.0, (config.steps - step) / decay_steps))
    return rate * (left if config.schedule == "linear" else 0.5 - 0.5 * math.cos(math.pi * left))
