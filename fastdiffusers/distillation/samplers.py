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
SHIFTS = (0.01, 100.0)
"""Between these a shift of a student's levels may be."""


class FewSteps(FlowMatchEulerDiscreteScheduler):
    """The scheduler of a pipeline that draws with a student: its number of steps, whatever is asked for, its step, and
    its ``shift`` where it has one of its own.

    Noise levels that a call gives itself are kept (those before the shift, as of any scheduler).
    """

    def __init__(
        self, inner: FlowMatchEulerDiscreteScheduler, steps: int, sampler: str = EULER, shift: float | None = None
    ) -> None:
        super().__init__(inner.config.shifted(shift))
        self.steps, self.sampler = steps, sampler
        self._keys: list[int] = []  # of the pictures that are being drawn

    def set_image_timesteps(
        self,
        image_seq_len: int,
        num_inference_steps: int | None = None,
        sigmas: Sequence[float] | np.ndarray | None = None,
    ) -> None:
        super().set_image_timesteps(image_seq_len, self.steps if sigmas is None else None, sigmas)
        self._keys = []

    def step(self, model_output: Any, i: int, sample: Any) -> Any:
        if self.sampler == EULER:
            return super().step(model_output, i, sample)
        x, v = sample.astype("float32"), model_output.astype("float32")
        self._keys = self._keys or picture_keys(x.numpy())
        clean = x - v * float(self.sigmas[i])
        level = float(self.sigmas[i + 1])
        if level == 0:
            return clean.astype(sample.dtype)
        import paddle

        noise = paddle.to_tensor(fresh_noise(self._keys, i, x.shape[1:]))
        return (clean * (1 - level) + noise * level).astype(sample.dtype)


def picture_keys(start: np.ndarray) -> list[int]:
    """A number for each picture ``[B, …]``, float32, by the latents that it starts from and nothing else.

    Those are the same bits whatever is drawn beside it; what networks make of them is not, in the last digit.
    """
    return [zlib.crc32(picture.tobytes()) for picture in np.ascontiguousarray(start, dtype=np.float32)]


def fresh_noise(keys: Sequence[int], step: int, shape: Sequence[int]) -> np.ndarray:
    """Noise for each of ``keys`` in one step: float32 ``[B, …]``, the same again for the same start and step."""
    parts = [np.random.default_rng([key, step]).standard_normal(tuple(shape), dtype=np.float32) for key in keys]
    return np.stack(parts)
