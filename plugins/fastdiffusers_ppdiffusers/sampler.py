"""Draws latents of many prompts as a teacher does: DDIM with classifier-free guidance, from torch's noise."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import paddle

from fastdiffusers.distillation.process import VariancePreserving, wide
from fastdiffusers.errors import NumericalError
from fastdiffusers_ppdiffusers.roles import NoisePrediction

if TYPE_CHECKING:
    from fastdiffusers_ppdiffusers.teachers import UNetTeachers


class UNetSampler:
    """Pictures of ``size`` × ``size`` pixels, at most ``batch`` at once; as `fastdiffusers.evaluation.sampler.Sampler`.

    Text embeddings are kept for every prompt that was seen, until `forget_texts`.
    """

    def __init__(self, pipe: Any, family: UNetTeachers, batch: int, size: int) -> None:
        self.pipe, self.family, self.batch, self.size = pipe, family, batch, (size, size)
        self.process = VariancePreserving(family.betas)
        self._network = NoisePrediction(pipe.denoiser, 0)
        self._texts: dict[str, tuple[np.ndarray, np.ndarray]] = {}

    has_guidance = False

    @paddle.no_grad()
    def states(
        self,
        prompts: Sequence[str],
        seeds: Sequence[int],
        sigmas: np.ndarray,
        guidance: float | Sequence[float] | np.ndarray,
        at: Sequence[int],
        embedded: float | None = None,
    ) -> list[paddle.Tensor]:
        """Latents ``[B, C, h, w]`` at the timesteps ``sigmas[i]`` for i in ``at``, which rises (0 is the noise).

        ``guidance`` may be a number for each picture; it is the scale against the empty prompt, a second evaluation
        each step. With ``embedded`` None there is no guidance.
        """
        count, dtype = len(prompts), self.pipe.dtype
        x = paddle.to_tensor(self.family.noise(seeds, self.size))
        scale = paddle.to_tensor(np.broadcast_to(np.asarray(guidance, np.float32), [count]).copy())
        told, empty = self._told(prompts), self._told([""] * count)
        kept = [x] if 0 in at else []
        for i, (now, then) in enumerate(itertools.pairwise(sigmas), 1):
            level, end = (paddle.full([count], float(value)) for value in (now, then))
            predicted = self._predict(x.astype(dtype), level, told)
            if embedded is not None:
                untold = self._predict(x.astype(dtype), level, empty)
                predicted = untold + wide(scale, x) * (predicted - untold)
            x = self.process.step(x, predicted, level, end)
            if i in at:
                kept.append(x)
        if not paddle.isfinite(x).all().item():
            raise NumericalError(f"the latents have NaN or infinity after {len(sigmas) - 1} steps; check the weights")
        return kept

    def forget_texts(self) -> None:
        """Free the text embeddings of all prompts so far."""
        self._texts.clear()

    def _predict(self, x: paddle.Tensor, level: paddle.Tensor, told: Any) -> paddle.Tensor:
        return self._network(x, level, *told.tensors()).astype("float32")

    def _told(self, prompts: Sequence[str]) -> Any:
        new = [prompt for prompt in dict.fromkeys(prompts) if prompt not in self._texts]
        if new:
            text, pooled, _ = self.family.encode_captions(self.pipe, new)
            self._texts.update(zip(new, zip(text, pooled, strict=True), strict=True))
        parts = zip(*(self._texts[prompt] for prompt in prompts), strict=True)
        tensors = [paddle.to_tensor(np.stack(part)).astype(self.pipe.dtype) for part in parts]
        return self.family.conditions(self, tensors[0], tensors[1], None, self.size)
