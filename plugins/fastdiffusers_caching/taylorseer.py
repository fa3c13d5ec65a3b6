"""TaylorSeer (Liu et al. 2025, arXiv 2503.06923): forecast features instead of reusing them.

The first three steps are computed and then every N-th after the last computed one. In between, k steps after it, a
feature is forecast as F + Σ Dⁱ·kⁱ / i!, with Dⁱ⁺¹ = (Dⁱ − Dⁱ_before) / gap between the last two computed steps.
``module`` forecasts every attention and MLP output before its gate; ``lite`` only the image after the last block.
"""

from __future__ import annotations

from dataclasses import dataclass

from fastdiffusers.accelerator import Reference
from fastdiffusers.caching.cache import Cache
from fastdiffusers.caching.design import Design, Rules
from fastdiffusers.caching.estimators import OUTPUT, Taylor
from fastdiffusers.caching.indicators import Interval
from fastdiffusers.caching.preset import preset
from fastdiffusers.caching.scopes import Modules, Stack
from fastdiffusers.models.info import ModelInfo
from fastdiffusers_caching.options import force, interval, option

TAYLORSEER = Reference(
    title="From Reusing to Forecasting: Accelerating Diffusion Models with TaylorSeers",
    authors="Jiacheng Liu and Chang Zou and Yuanhuiyi Lyu and Junjie Chen and Linfeng Zhang",
    year=2025,
    arxiv="2503.06923",
    note="ICCV 2025",
)


@dataclass(frozen=True)
class TaylorSeerConfig:
    """Options of ``taylorseer``; for FLUX.1-dev N of 3 to 6 and orders 1 and 2 are published."""

    interval: int = interval(3, "N: every how many steps one is computed; 1 computes all")
    order: int = option(1, "order of the forecast; 0 reuses (FORA)", min=0, max=4)
    mode: str = option(
        "lite",
        "what is forecast: module (every attention and MLP output, much memory) or lite (the last block's)",
        choices=("lite", "module"),
    )
    warmup: int = option(3, "steps at the beginning that are always computed", min=1)
    force: bool = force()


class TaylorSeer(Cache):
    """Modules or the whole stack; fixed interval; Taylor forecast of the output."""

    config: TaylorSeerConfig

    def designs(self, info: ModelInfo) -> tuple[Design, ...]:
        c = self.config
        scope = Modules() if c.mode == "module" else Stack()
        rules, never = Rules(warmup=c.warmup), c.interval == 1
        return (Design(scope, lambda: Interval(c.interval), lambda: Taylor(OUTPUT, c.order), rules, never=never),)


SPEC = preset(
    "taylorseer",
    "compute every N-th step and forecast the features of those between",
    TaylorSeer,
    TaylorSeerConfig,
    (TAYLORSEER,),
)
