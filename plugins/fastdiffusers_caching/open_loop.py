"""What a mask would cost, told from uncached runs alone, so that thousands of masks can be compared in a second.

Euler's result is x_T = x_0 + Σ Δσ_t·v_t, and every estimator is linear in the velocities v of the computed steps. A
mask that is followed without feedback therefore moves x_T by Σ Δσ_t·(v̂_t − v_t) = Σ_s c_s·v_s, whose norm is √(cᵀGc)
with the Gram matrix G of the velocities. The feedback, by which an early error grows, is a factor g_t for each step,
measured by skipping single steps: the real error over the one that is foretold. No Paddle.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fastdiffusers.caching.estimators import SIGMA, Reuse

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class OpenLoop:
    """Uncached runs of T steps.

    Attributes:
        sigmas: noise levels [T], falling.
        gram: G [T, T], inner products of the velocities over the latents' norm, mean over the pictures.
        growth: g [T], how an error of each step has grown by the end.
    """

    sigmas: Floats
    gram: Floats
    growth: Floats

    @classmethod
    def of(cls, sigmas: Iterable[float], velocities: Floats, latents: Floats) -> OpenLoop:
        """From velocities [T, B, …] and final latents [B, …]; without growth, which is 1."""
        levels = np.asarray(list(sigmas), np.float64)
        count = velocities.shape[1]
        norms = np.linalg.norm(latents.reshape(count, -1), axis=1)
        flat = velocities.reshape(len(levels), count, -1) / norms[:, None]
        return cls(levels, np.einsum("tbd,sbd->ts", flat, flat) / count, np.ones(len(levels)))

    def error(self, mask: Iterable[int], estimator: Callable[[], Reuse]) -> float:
        """The latents' expected relative error (root of the mean square) when the steps of ``mask`` are computed."""
        steps, computed, one = len(self.sigmas), frozenset(mask), estimator()
        units: Floats = np.eye(steps)
        changes: Floats = np.diff(self.sigmas, append=0.0) * self.growth
        total: Floats = np.zeros(steps)
        for step in range(steps):
            node = float(self.sigmas[step]) if one.nodes == SIGMA else float(step)
            if step in computed:
                one.learn(node, (units[step],))
            else:
                total += changes[step] * np.asarray(one.forecast(node)[0] - units[step])
        return max(float(total @ self.gram @ total), 0.0) ** 0.5

    def probes(self, count: int = 8) -> list[int]:
        """Steps whose growth is worth measuring: closer together at the beginning, where it changes."""
        last = len(self.sigmas) - 1
        return sorted({round(step) for step in np.geomspace(1, last, count)}) if last > 0 else []

    def grown(self, real: dict[int, float], estimator: Callable[[], Reuse]) -> OpenLoop:
        """With the growth that follows from the ``real`` errors of skipping one step, by step; linear in between."""
        steps = range(len(self.sigmas))
        foretold = {step: self.error(set(steps) - {step}, estimator) for step in real}
        known = {step: real[step] / foretold[step] for step in real if foretold[step] > 0}
        if not known:
            return self
        return replace(self, growth=np.interp(steps, list(known), list(known.values())))
