"""The timesteps of a UNet's training and drawing, and how its scheduler's settings make them. No Paddle at the top."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from fastdiffusers.distillation.process import Tensor, VariancePreserving, scaled_linear
from fastdiffusers.distillation.samplers import EULER, fresh_noise, picture_keys
from fastdiffusers.errors import WeightsError, one_of


def betas_of(scheduler: Mapping[str, Any]) -> np.ndarray:
    """β_t of the training, from a scheduler's configuration; `WeightsError` for a process of another kind."""
    kinds = {"epsilon"}
    if (predicts := scheduler.get("prediction_type", "epsilon")) not in kinds:
        raise WeightsError(one_of("prediction_type of the scheduler:", predicts, kinds))
    if scheduler.get("trained_betas"):
        return np.asarray(scheduler["trained_betas"], np.float64)
    schedules = {"scaled_linear": scaled_linear, "linear": lambda n, first, last: np.linspace(first, last, n)}
    name = scheduler.get("beta_schedule", "linear")
    if name not in schedules:
        raise WeightsError(one_of("beta_schedule of the scheduler:", name, schedules))
    count = int(scheduler.get("num_train_timesteps", 1000))
    return schedules[name](count, float(scheduler.get("beta_start", 1e-4)), float(scheduler.get("beta_end", 0.02)))


def trailing_timesteps(steps: int, count: int = 1000) -> np.ndarray:
    """What ``steps`` evenly spaced steps visit from the last timestep down, and 0: float32 ``[steps + 1]``.

    ``timestep_spacing="trailing"`` of DDIM; `ddim_grid`'s where ``steps`` divides ``count``.
    """
    return np.append(np.round(np.arange(steps, 0, -1) * count / steps) - 1, 0).astype(np.float32)


class TimestepWalk:
    """Draws from timestep to timestep: along the prediction (``euler``, which is DDIM here), or by way of the clean
    latent with fresh noise (``lcm``; Luo et al. 2023, "Latent Consistency Models", algorithm 2).
    """

    def __init__(self, process: VariancePreserving, timesteps: np.ndarray, sampler: str = EULER) -> None:
        self.process, self.sigmas, self.sampler = process, timesteps, sampler
        self._keys: list[int] = []  # of the pictures that are being drawn

    def step(self, model_output: Tensor, i: int, sample: Tensor) -> Tensor:
        """From timestep i to the next one; the last step of ``lcm`` ends at the clean latent."""
        import paddle

        now, then = (paddle.full([len(sample)], float(self.sigmas[j])) for j in (i, i + 1))
        if self.sampler == EULER:
            return self.process.step(sample, model_output, now, then)
        self._keys = self._keys or picture_keys(sample.numpy())
        clean = self.process.clean(sample, model_output, now)
        if i == len(self.sigmas) - 2:
            return clean
        noise = paddle.to_tensor(fresh_noise(self._keys, i, sample.shape[1:]))
        return self.process.add_noise(clean, noise, then)
