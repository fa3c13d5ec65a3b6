"""MagCache (Ma et al. 2025, arXiv 2506.09045): skip while the calibrated magnitude of the residual has hardly moved.

γ_t = mean over tokens of ‖r_t‖ / ‖r_{t−1}‖, measured once per model. A step is skipped while Σ|1 − Πγ| ≤ τ since the
last computed one, at most K times in a row, and not in the first tenth of the steps (3 of 28). In effect a static
schedule.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fastdiffusers.accelerator import Reference
from fastdiffusers.caching.cache import Cache
from fastdiffusers.caching.design import Design, Rules
from fastdiffusers.caching.preset import preset
from fastdiffusers.caching.scopes import Stack
from fastdiffusers.errors import PluginError
from fastdiffusers.models.info import ModelInfo
from fastdiffusers.recorder import Recorder
from fastdiffusers_caching.magnitude import MagnitudeDrift, Magnitudes, kept_magnitudes
from fastdiffusers_caching.options import force, option, threshold


@dataclass(frozen=True)
class MagCacheConfig:
    """Options of ``magcache``; the defaults are published for FLUX.1-dev."""

    threshold: float = threshold(0.24, "τ: accumulated drift of the magnitude up to which steps are skipped", 0.01, 2.0)
    max_consecutive: int = option(5, "K: how many steps may be skipped in a row", min=1)
    start: float = option(0.1, "share of the steps at the beginning that are always computed", min=0.0, max=1.0)
    force: bool = force()


class MagCache(Cache):
    """Whole stack; calibrated magnitude; residual."""

    config: MagCacheConfig

    def designs(self, info: ModelInfo) -> tuple[Design, ...]:
        c, magnitudes = self.config, kept_magnitudes(info)
        return (
            Design(
                scope=Stack(),
                indicator=lambda: MagnitudeDrift(c.threshold, magnitudes),
                rules=Rules(start=c.start, max_consecutive=c.max_consecutive),
                fingerprint=magnitudes.fingerprint,
                never=c.threshold == 0,
            ),
        )

    def calibrate(self, pipe: Any, prompts: list[str], progress: Callable[[int, int], None]) -> dict[str, Any]:
        """γ at every step of uncached generations of ``prompts``, averaged: ``{"magnitudes": Magnitudes}``."""
        if pipe.context.session is not None:
            raise PluginError("calibrate on a pipeline without attached accelerators; detach the session first")
        ratios: dict[float, list[float]] = {}
        recorder = Recorder(pipe, pipe.context)
        try:
            recorder.patch(pipe.transformer, "block_loop", RatioLoop(pipe.transformer.block_loop, recorder, ratios))
            for i, prompt in enumerate(prompts):
                pipe(prompt, seed=i, output_type="latent")
                progress(i + 1, len(prompts))
        finally:
            recorder.undo()
        sigmas = tuple(sorted(ratios, reverse=True))
        means = tuple(sum(ratios[sigma]) / len(ratios[sigma]) for sigma in sigmas)
        source = f"measured on {len(prompts)} prompts of {len(sigmas)} steps"
        return {"magnitudes": Magnitudes(sigmas, means, source)}


class RatioLoop:
    """Runs the inner loop unchanged and notes γ at every σ; 1 at the first."""

    def __init__(self, inner: Callable[..., Any], recorder: Recorder, ratios: dict[float, list[float]]) -> None:
        self.inner = inner
        self.context = recorder.context
        self.state: Callable[[], list[Any]] = recorder.state(list)
        self.ratios = ratios

    def __call__(self, model: Any, image: Any, *rest: Any) -> Any:
        out = self.inner(model, image, *rest)
        norms = (out - image).astype("float32").norm(axis=-1)
        before = self.state()
        ratio = (norms / before.pop()).mean().item() if before else 1.0
        before.append(norms)
        self.ratios.setdefault(self.context.sigma, []).append(float(ratio))
        return out


SPEC = preset(
    "magcache",
    "skip whole steps while the residual's magnitude, calibrated once per model, has hardly moved",
    MagCache,
    MagCacheConfig,
    (
        Reference(
            title="MagCache: Fast Video Generation with Magnitude-Aware Cache",
            authors="Zehong Ma and Longhui Wei and Feng Wang and Shiliang Zhang and Qi Tian",
            year=2025,
            arxiv="2506.09045",
            note="NeurIPS 2025",
        ),
    ),
    walks=False,
)
