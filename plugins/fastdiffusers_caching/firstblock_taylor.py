"""FirstBlock-Taylor: First Block Cache's decision, an order-1 Taylor forecast of the last block's output.

Steps 0, 1 and the last are always computed, so that the forecast h + k·(h − h_before) / gap exists from the first skip.
"""

from __future__ import annotations

from dataclasses import dataclass

from fastdiffusers.accelerator import Reference
from fastdiffusers.caching.cache import Cache
from fastdiffusers.caching.design import Design, Rules
from fastdiffusers.caching.estimators import OUTPUT, Taylor
from fastdiffusers.caching.indicators import FirstBlocks
from fastdiffusers.caching.preset import preset
from fastdiffusers.caching.scopes import Between
from fastdiffusers.models.info import ModelInfo
from fastdiffusers_caching.fbcache import PARA_ATTENTION
from fastdiffusers_caching.options import force, option, threshold
from fastdiffusers_caching.taylorseer import TAYLORSEER
from fastdiffusers_caching.teablockcache import TRAINING_FREE


@dataclass(frozen=True)
class FirstBlockTaylorConfig:
    """Options of ``firstblock-taylor``; 0.05 is the reference's threshold on FLUX.1-dev."""

    threshold: float = threshold(
        0.05, "change of the first block's residual below which the rest is forecast", 0.01, 1.0
    )
    order: int = option(1, "order of the forecast", min=0, max=2)
    force: bool = force()


class FirstBlockTaylor(Cache):
    """First block, then the rest; distance to the last computed step; Taylor forecast of the output."""

    config: FirstBlockTaylorConfig

    def designs(self, info: ModelInfo) -> tuple[Design, ...]:
        tau, order = self.config.threshold, self.config.order
        rules = Rules(warmup=2, final=1)
        return (Design(Between(1), lambda: FirstBlocks(tau), lambda: Taylor(OUTPUT, order), rules, never=tau == 0),)


SPEC = preset(
    "firstblock-taylor",
    "run the first block; while its residual hardly changes, forecast the output of the last one",
    FirstBlockTaylor,
    FirstBlockTaylorConfig,
    (
        Reference(
            title="FirstBlock-TaylorSeer",
            authors="PaddleMIX Authors",
            year=2025,
            url=f"{TRAINING_FREE}/firstblock_taylorseer",
            note="software without a paper or named authors; described in its README",
        ),
        PARA_ATTENTION,
        TAYLORSEER,
    ),
    trial="threshold=2",
)
