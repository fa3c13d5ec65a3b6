"""SortBlock (Chen et al. 2025, arXiv 2508.00412): compute only the blocks whose residual is forecast worst.

While 0.05 ≤ σ ≤ 0.9, every K-th step is full and stores each block's residual Δ^l. The step after it ranks the blocks
by the cosine of Δ^l and its order-1 forecast (see `ranking`); up to the next full step the least similar
int(L·ρ) + 1 of each list are computed, ρ(t) being a polynomial times β, and all others add their forecast residual.
"""

from __future__ import annotations

from dataclasses import dataclass

from fastdiffusers.accelerator import Reference
from fastdiffusers.caching.cache import Cache
from fastdiffusers.caching.design import Design, Rules
from fastdiffusers.caching.estimators import Taylor
from fastdiffusers.caching.preset import preset
from fastdiffusers.caching.scopes import Blocks
from fastdiffusers.models.info import ModelInfo
from fastdiffusers_caching.options import force, interval, option
from fastdiffusers_caching.ranking import SortBlock


@dataclass(frozen=True)
class SortBlockConfig:
    """Options of ``sortblock``; for FLUX.1-dev K of 4 to 9 and β = 0.1 are published."""

    period: int = interval(5, "K: every how many steps one is full; 1 computes all")
    beta: float = option(0.1, "β: scale of the share of blocks that are computed in between", min=0.0, max=1.0)
    sigma_from: float = option(0.9, "noise level at which skipping begins", min=0.0, max=1.0)
    sigma_to: float = option(0.05, "noise level at which it ends", min=0.0, max=1.0)
    force: bool = force()


class SortBlockCache(Cache):
    """Every block; similarity ranking; Taylor forecast of order 1 of the residual."""

    config: SortBlockConfig

    def designs(self, info: ModelInfo) -> tuple[Design, ...]:
        c = self.config
        rules = Rules(sigma_from=c.sigma_from, sigma_to=c.sigma_to)
        indicator = lambda: SortBlock(c.period, c.beta)  # noqa: E731
        return (Design(Blocks(), indicator, lambda: Taylor(order=1), rules, never=c.period == 1),)


SPEC = preset(
    "sortblock",
    "between full steps, compute only the blocks whose residual is hardest to forecast",
    SortBlockCache,
    SortBlockConfig,
    (
        Reference(
            title="SortBlock: Similarity-Aware Feature Reuse for Diffusion Model",
            authors="Hanqi Chen and Xu Zhang and Xiaoliu Guan and Lielin Jiang and Guanzhong Wang and Zeyu Chen "
            "and Yi Liu",
            year=2025,
            arxiv="2508.00412",
        ),
    ),
)
