"""How a student goes from level to level when it draws. No Paddle at the top.

``euler``: x + (σ' − σ)·v, the deterministic step of the teacher's own scheduler. ``lcm``: to the estimate x̂₀ = x − σ·v,
and back to σ' with fresh noise (Song et al. 2023, "Consistency Models", algorithm 1), which a student of one phase is
made for.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastdiffusers.schedulers import FlowMatchEulerDiscreteScheduler

EULER, LCM = "euler", "lcm"
SAMPLERS = (EULER, LCM)


class FewSteps(FlowMatchEulerDiscreteScheduler):
    """The scheduler of a pipeline that draws with a student: its number of steps, whatever is asked for, its step.

    Noise levels that a call gives itself are kept.
    """

    def __init__(self, inner: FlowMatchEulerDiscreteScheduler, steps: int, sampler: str = EULER) -> None:
        super().__init__(inner.config)
        self.steps, self.sampler = steps, sampler

    def set_image_timesteps(
        self,
        image_seq_len: int,
        num_inference_steps: int | None = None,
        sigmas: Sequence[float] | np.ndarray | None = None,
    ) -> None:
        super().set_image_timesteps(image_seq_len, self.steps if sigmas is None else None, sigmas)

    def step(self, model_output: Any, i: int, sample: Any) -> Any:
        if self.sampler == EULER:
            return super().step(model_output, i, sample)
        x, v = sample.astype("float32"), model_output.astype("float32")
        clean = x - v * float(self.sigmas[i])
        level = float(self.sigmas[i + 1])
        if level == 0:
            return clean.astype(sample.dtype)
        import paddle

        return (clean * (1 - level) + paddle.to_tensor(fresh_noise(x.numpy())) * level).astype(sample.dtype)


def fresh_noise(sample: np.ndarray) -> np.ndarray:
    """Noise like ``sample``, float32, that depends on nothing but each picture's own latents.

    So a picture is the same whatever is drawn beside it, and the same again for the same seed.
    """
    parts = []
    for picture in np.ascontiguousarray(sample, dtype=np.float32):
        rng = np.random.Generator(np.random.Philox(key=zlib.crc32(picture.tobytes())))
        parts.append(rng.standard_normal(picture.shape, dtype=np.float32))
    return np.stack(parts)
