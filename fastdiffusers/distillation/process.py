"""Noise processes: how a clean latent becomes noise, and what a network's prediction says about both.

A latent at level a is x_a = α(a)·x₀ + β(a)·ε. Everything that losses need follows from α, β and the way a prediction
is turned into x₀ and ε, so each loss is written once for all processes. No Paddle here: tensors bring their arithmetic.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np

Tensor = Any


class Process(ABC):
    """Levels are tensors ``[B]``; latents and predictions ``[B, …]`` of any further shape.

    Attributes:
        clean_level: the level of a latent without any noise.
    """

    clean_level = 0.0

    @abstractmethod
    def alpha(self, level: Tensor) -> Tensor:
        """The share of the clean latent, ``[B]``."""

    @abstractmethod
    def beta(self, level: Tensor) -> Tensor:
        """The share of the noise, ``[B]``."""

    @abstractmethod
    def clean_from(self, x: Tensor, prediction: Tensor, level: Tensor) -> Tensor:
        """x̂₀ by what the network predicts of ``x`` at ``level``."""

    @abstractmethod
    def noise_from(self, x: Tensor, prediction: Tensor, level: Tensor) -> Tensor:
        """ε̂ by what the network predicts of ``x`` at ``level``."""

    @abstractmethod
    def prediction_between(self, x: Tensor, level: Tensor, y: Tensor, end: Tensor) -> Tensor:
        """The prediction with which `step` goes from ``x`` at ``level`` exactly to ``y`` at ``end``."""

    def nearest(self, level: Tensor) -> Tensor:
        """The level nearest to ``level`` that there is; all of them, unless a process knows steps only."""
        return level

    def add_noise(self, clean: Tensor, noise: Tensor, level: Tensor) -> Tensor:
        """α(a)·x₀ + β(a)·ε."""
        return wide(self.alpha(level), clean) * clean + wide(self.beta(level), clean) * noise

    def step(self, x: Tensor, prediction: Tensor, level: Tensor, end: Tensor) -> Tensor:
        """Φ(x, a → b): the deterministic step to ``end`` along the prediction (Euler for flows, DDIM for VP)."""
        return self.add_noise(self.clean_from(x, prediction, level), self.noise_from(x, prediction, level), end)

    def jump(self, x: Tensor, prediction: Tensor, level: Tensor, end: Tensor) -> Tensor:
        """f(x, a): where a student's jump from ``level`` to ``end`` lands; the identity at ``end`` itself."""
        return self.step(x, prediction, level, end)

    def clean(self, x: Tensor, prediction: Tensor, level: Tensor) -> Tensor:
        """Where a student that jumps to the clean latent lands: x̂₀, unless its parametrisation says otherwise."""
        return self.clean_from(x, prediction, level)

    def renoise(self, x: Tensor, level: Tensor, higher: Tensor, noise: Tensor) -> Tensor:
        """``x`` at ``level`` taken to ``higher`` by fresh noise, so that its distribution there is exactly right.

        x_b = c·x_a + √(β(b)² − (c·β(a))²)·z with c = α(b)/α(a); adding noise on top without this factor leaves the
        level too low.
        """
        share = self.alpha(higher) / self.alpha(level)
        variance = self.beta(higher) ** 2 - (share * self.beta(level)) ** 2
        return wide(share, x) * x + wide(variance.clip(min=0.0).sqrt(), x) * noise

    def score_target(self, x: Tensor, level: Tensor, higher: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """``(w, t)`` so that w·prediction ≈ t, in the mean of squares, is learnt by what has the score of `renoise`'s
        result.

        ``x`` may be noisy itself, so the fresh noise z is a part of all: E[z | x_b] = w·E[ε | x_b], with
        w = √(β(b)² − (c·β(a))²)/β(b) (Vincent 2011, denoising score matching). Here for predictions of ε.
        """
        return wide(self._fresh(level, higher), x), noise

    def _fresh(self, level: Tensor, higher: Tensor) -> Tensor:
        share = self.alpha(higher) / self.alpha(level)
        whole = self.beta(higher)
        return (whole**2 - (share * self.beta(level)) ** 2).clip(min=0.0).sqrt() / whole


class FlowMatching(Process):
    """x_σ = (1 − σ)·x₀ + σ·ε, the network predicts v = ε − x₀ (Lipman et al. 2023; FLUX, SD3). Levels are σ."""

    def alpha(self, level: Tensor) -> Tensor:
        return 1.0 - level

    def beta(self, level: Tensor) -> Tensor:
        return level

    def clean_from(self, x: Tensor, prediction: Tensor, level: Tensor) -> Tensor:
        return x - wide(level, x) * prediction

    def noise_from(self, x: Tensor, prediction: Tensor, level: Tensor) -> Tensor:
        return x + wide(1.0 - level, x) * prediction

    def step(self, x: Tensor, prediction: Tensor, level: Tensor, end: Tensor) -> Tensor:
        return x + wide(end - level, x) * prediction  # the same as the general form, in one product

    def prediction_between(self, x: Tensor, level: Tensor, y: Tensor, end: Tensor) -> Tensor:
        return (y - x) / wide(end - level, x)

    def score_target(self, x: Tensor, level: Tensor, higher: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """For v = (ε̂ − x_b)/(1 − b) and ε̂ = z/w: w·v = (1 + (1 − b)/b·(a/(1 − a))²)·z − w·x_a/(1 − a); z − x₀ for
        a clean ``x``."""
        fresh = self._fresh(level, higher)
        more = 1.0 + (1.0 - higher) / higher * (level / (1.0 - level)) ** 2
        return wide(fresh, x), wide(more, x) * noise - wide(fresh / (1.0 - level), x) * x


class LinearRenoising(FlowMatching):
    """A flow whose re-noising adds fresh noise in proportion to the way up: x_b = [(1 − b)·x_a + (b − a)·z]/(1 − a).

    For comparisons only. The noise in x_a and z are independent, so their variances add, not their deviations: the
    level is short of b, at a = 0.3 and b = 0.6 by 0.6² − (0.4/0.7·0.3)² − (0.3/0.7)² = 0.147 of 0.36.
    """

    def renoise(self, x: Tensor, level: Tensor, higher: Tensor, noise: Tensor) -> Tensor:
        return (wide(1.0 - higher, x) * x + wide(higher - level, x) * noise) / wide(1.0 - level, x)


class VariancePreserving(Process):
    """x_t = √ᾱ_t·x₀ + √(1 − ᾱ_t)·ε, the network predicts ε (Ho et al. 2020; SD1.5, SDXL).

    Levels are the timesteps of training, whole numbers as float32; −1 is the clean latent.

    Args:
        betas: β_t of training, ``[T]``; `scaled_linear` gives Stable Diffusion's.
    """

    clean_level = -1.0

    def __init__(self, betas: np.ndarray) -> None:
        import paddle

        bar = np.cumprod(1.0 - np.asarray(betas, np.float64))
        self._bar = paddle.to_tensor(np.concatenate([[1.0], bar]).astype(np.float32))  # entry 0: clean

    def nearest(self, level: Tensor) -> Tensor:
        return level.round()

    def _alpha_bar(self, level: Tensor) -> Tensor:
        return self._bar[(level + 1.0).round().astype("int64")]

    def alpha(self, level: Tensor) -> Tensor:
        return self._alpha_bar(level).sqrt()

    def beta(self, level: Tensor) -> Tensor:
        return (1.0 - self._alpha_bar(level)).sqrt()

    def clean_from(self, x: Tensor, prediction: Tensor, level: Tensor) -> Tensor:
        return (x - wide(self.beta(level), x) * prediction) / wide(self.alpha(level), x)

    def noise_from(self, x: Tensor, prediction: Tensor, level: Tensor) -> Tensor:
        return prediction

    def prediction_between(self, x: Tensor, level: Tensor, y: Tensor, end: Tensor) -> Tensor:
        share = self.alpha(end) / self.alpha(level)
        return (y - wide(share, x) * x) / wide(self.beta(end) - share * self.beta(level), x)


class LatentConsistency(VariancePreserving):
    """A student whose one jump leads to the clean latent, held to the identity at timestep 0 by its parametrisation:
    f(x, t) = c_skip(t)·x + c_out(t)·x̂₀ with c_skip = s²/(τ² + s²), c_out = τ/√(τ² + s²), τ = 10·t, s = ½.

    Song et al. 2023, "Consistency Models", appendix C; Luo et al. 2023, "Latent Consistency Models", section 4.
    """

    SCALE, DATA = 10.0, 0.5

    def skip(self, level: Tensor) -> Tensor:
        """c_skip, ``[B]``."""
        return self.DATA**2 / ((self.SCALE * level) ** 2 + self.DATA**2)

    def out(self, level: Tensor) -> Tensor:
        """c_out, ``[B]``."""
        return self.SCALE * level / ((self.SCALE * level) ** 2 + self.DATA**2).sqrt()

    def clean(self, x: Tensor, prediction: Tensor, level: Tensor) -> Tensor:
        return wide(self.skip(level), x) * x + wide(self.out(level), x) * self.clean_from(x, prediction, level)

    def jump(self, x: Tensor, prediction: Tensor, level: Tensor, end: Tensor) -> Tensor:
        return self.clean(x, prediction, level)


def scaled_linear(count: int = 1000, first: float = 0.00085, last: float = 0.012) -> np.ndarray:
    """Stable Diffusion's β_t: linear in √β."""
    return np.linspace(first**0.5, last**0.5, count) ** 2


def flow_process(compat: str) -> FlowMatching:
    """The flow of a recipe: exact, or with the first implementation's re-noising for ``compat: reference``."""
    return LinearRenoising() if compat == "reference" else FlowMatching()


def wide(level: Tensor, like: Tensor) -> Tensor:
    """``[B]`` as ``[B, 1, …]``, to be multiplied with ``like``."""
    return level.reshape([-1] + [1] * (like.ndim - 1))
