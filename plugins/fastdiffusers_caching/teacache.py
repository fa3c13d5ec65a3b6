"""TeaCache (Liu et al. 2025, arXiv 2411.19108), for FLUX.

Probe m_t: the first double block's modulated image input. Per step acc += P(δ(m_t, m_{t−1})), whether the step before
was computed or not, with δ(a, b) = mean|a − b| / mean|b|. A step is computed if acc ≥ threshold (then acc = 0), else
the image tokens get the residual r of the last computed step: h = x + r. The first and the last step are always
computed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fastdiffusers.accelerator import Reference
from fastdiffusers.caching.cache import Cache
from fastdiffusers.caching.design import Design, Rules
from fastdiffusers.caching.indicators import ProbeChange, relative_change
from fastdiffusers.caching.loop import Loop
from fastdiffusers.caching.preset import preset
from fastdiffusers.caching.scopes import Stack
from fastdiffusers.caching.stack import BlockStack, Walk, stack_of
from fastdiffusers.errors import PluginError
from fastdiffusers.models.info import ModelInfo
from fastdiffusers.recorder import Recorder
from fastdiffusers_caching.options import TeaCacheConfig
from fastdiffusers_caching.polynomial import Polynomial, choose, fit
from fastdiffusers_caching.predict import predict_teacache


def design(threshold: float, polynomial: Polynomial) -> Design:
    """TeaCache: the whole stack, the accumulated change of its probe, the residual."""
    return Design(
        scope=Stack(),
        indicator=lambda: ProbeChange(threshold, polynomial),
        rules=Rules(final=1),
        fingerprint=polynomial.fingerprint,
        never=threshold == 0,
    )


class TeaCache(Cache):
    """Skips whole evaluations of the block stack."""

    config: TeaCacheConfig

    def designs(self, info: ModelInfo) -> tuple[Design, ...]:
        return (design(self.config.threshold, choose(self.config.coefficients, info)),)

    def calibrate(self, pipe: Any, prompts: list[str], progress: Callable[[int, int], None]) -> dict[str, Any]:
        """Fit P on uncached generations of ``prompts``: probe change against change of the block stack's output.

        Returns ``{"polynomial": Polynomial, "pairs": n}``; nothing is left attached.
        """
        if pipe.context.session is not None:
            raise PluginError("calibrate on a pipeline without attached accelerators; detach the session first")
        pairs: list[tuple[float, float, float]] = []
        recorder = Recorder(pipe, pipe.context)
        try:
            loop = MeasuringLoop(pipe.transformer.block_loop, stack_of(pipe.info.family), recorder, pairs)
            recorder.patch(pipe.transformer, "block_loop", loop)
            for i, prompt in enumerate(prompts):
                pipe(prompt, seed=i, output_type="latent")
                progress(i + 1, len(prompts))
        finally:
            recorder.undo()
        by_sigma: dict[float, list[float]] = {}
        for sigma, change, _ in pairs:
            by_sigma.setdefault(sigma, []).append(change)
        sigmas = sorted(by_sigma, reverse=True)
        polynomial = fit(
            [change for _, change, _ in pairs],
            [output for _, _, output in pairs],
            [1.0, *sigmas],
            [0.0, *(sum(by_sigma[sigma]) / len(by_sigma[sigma]) for sigma in sigmas)],
            f"fitted on {len(prompts)} prompts of {len(sigmas) + 1} steps",
        )
        return {"polynomial": polynomial, "pairs": len(pairs)}


@dataclass
class Seen:
    """Probe and output of the step before."""

    probe: Any = None
    output: Any = None


class MeasuringLoop:
    """Runs the inner loop unchanged and notes (σ, probe change, output change) of every step but the first."""

    def __init__(
        self, inner: Loop, stack: BlockStack, recorder: Recorder, pairs: list[tuple[float, float, float]]
    ) -> None:
        self.inner = inner
        self.stack = stack
        self.context = recorder.context
        self.state = recorder.state(Seen)
        self.pairs = pairs

    def __call__(self, model: Any, image: Any, text: Any, *conditions: Any) -> Any:
        seen = self.state()
        probe = Walk(self.stack, model, image, text, conditions).probe()
        out = self.inner(model, image, text, *conditions)
        if seen.probe is not None:
            change = (relative_change(probe, seen.probe), relative_change(out, seen.output))
            self.pairs.append((self.context.sigma, *change))
        seen.probe, seen.output = probe, out
        return out


TEACACHE = Reference(
    title="Timestep Embedding Tells: It's Time to Cache for Video Diffusion Model",
    authors="Feng Liu and Shiwei Zhang and Xiaofeng Wang and Yujie Wei and Haonan Qiu and Yuzhong Zhao and "
    "Yingya Zhang and Qixiang Ye and Fang Wan",
    year=2025,
    arxiv="2411.19108",
    note="CVPR 2025",
)

SPEC = preset(
    "teacache",
    "skip whole steps while the accumulated change of the first block's input stays below a threshold",
    TeaCache,
    TeaCacheConfig,
    (TEACACHE,),
    walks=False,
    predict=predict_teacache,
    trial="coefficients=identity:threshold=0.6",
)
