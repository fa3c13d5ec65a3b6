"""BlockDance (Zhang et al. 2025, arXiv 2503.15927): shallow features are stable in the middle of sampling.

While 0.1 ≤ σ ≤ 0.9, every N-th step is full; those between restart from the state that the last full one had at a cut
and run only the blocks after it. Everything before the cut is skipped.
"""

from __future__ import annotations

from dataclasses import dataclass

from fastdiffusers.accelerator import Reference
from fastdiffusers.caching.cache import Cache
from fastdiffusers.caching.design import Design, Rules
from fastdiffusers.caching.estimators import OUTPUT, Reuse
from fastdiffusers.caching.indicators import Interval
from fastdiffusers.caching.preset import preset
from fastdiffusers.caching.scopes import Cut
from fastdiffusers.models.info import ModelInfo
from fastdiffusers_caching.options import force, interval, option


@dataclass(frozen=True)
class BlockDanceConfig:
    """Options of ``blockdance``; N of 2 to 4 is published, and the cut at single block 28 of FLUX.1-dev."""

    interval: int = interval(2, "N: every how many steps one is full; 1 computes all")
    cut: int | None = option(None, "block to restart from; none: 47/57 of the way, FLUX.1's single block 28", min=1)
    sigma_from: float = option(0.9, "noise level at which skipping begins", min=0.0, max=1.0)
    sigma_to: float = option(0.1, "noise level at which it ends", min=0.0, max=1.0)
    force: bool = force()


class BlockDance(Cache):
    """The blocks before a cut; fixed interval inside a window; their output as it was."""

    config: BlockDanceConfig

    def designs(self, info: ModelInfo) -> tuple[Design, ...]:
        c = self.config
        rules = Rules(sigma_from=c.sigma_from, sigma_to=c.sigma_to)
        never = c.interval == 1
        return (Design(Cut(c.cut), lambda: Interval(c.interval), lambda: Reuse(OUTPUT), rules, never=never),)


SPEC = preset(
    "blockdance",
    "between full steps, restart from the stored state late in the stack and run only what follows",
    BlockDance,
    BlockDanceConfig,
    (
        Reference(
            title="BlockDance: Reuse Structurally Similar Spatio-Temporal Features to Accelerate Diffusion "
            "Transformers",
            authors="Hui Zhang and Tingwei Gao and Jie Shao and Zuxuan Wu",
            year=2025,
            arxiv="2503.15927",
            note="CVPR 2025",
        ),
    ),
)
