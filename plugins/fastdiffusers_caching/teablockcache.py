"""TeaBlockCache (PaddleMIX 2025): TeaCache's accumulator for every block by itself.

While 0.1 ≤ σ ≤ 0.9, block l (from number 3 of its list on) adds up P(δ) of its own modulated input, on the first C/8
channels, and reuses its residual until the sum reaches the threshold. With ``taylor`` the whole step is forecast once
the input of block 0 has changed little several times in a row, two steps at most before one is computed again.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from fastdiffusers.accelerator import Reference
from fastdiffusers.caching.cache import Cache
from fastdiffusers.caching.design import Design, Rules
from fastdiffusers.caching.estimators import OUTPUT, Taylor
from fastdiffusers.caching.indicators import Moment, ProbeChange
from fastdiffusers.caching.preset import preset
from fastdiffusers.caching.scopes import Blocks, Stack
from fastdiffusers.models.info import ModelInfo
from fastdiffusers_caching.calm import Calm
from fastdiffusers_caching.options import coefficients, force, option, threshold
from fastdiffusers_caching.polynomial import choose
from fastdiffusers_caching.taylorseer import TAYLORSEER
from fastdiffusers_caching.teacache import TEACACHE

TRAINING_FREE = (
    "https://github.com/PaddlePaddle/PaddleMIX/tree/develop/ppdiffusers/examples/Fast-Diffusers/Training-Free"
)


@dataclass(frozen=True)
class TeaBlockCacheConfig:
    """Options of ``teablockcache``; 0.9 is the reference's threshold on FLUX.1-dev, its documents have 1 to 3."""

    threshold: float = threshold(
        0.9, "accumulated predicted change at which a block is computed; 0 computes all", 0.05, 5.0
    )
    coefficients: str = coefficients()
    first: int = option(3, "number of the first block, in each list, that may be skipped", min=0)
    sigma_from: float = option(0.9, "noise level at which skipping begins", min=0.0, max=1.0)
    sigma_to: float = option(0.1, "noise level at which it ends", min=0.0, max=1.0)
    taylor: int = option(0, "order of the forecast of whole steps; 0: none", min=0, max=2)
    calm: float = option(0.1, "change of block 0's input that counts as little, for the forecast", min=0.0)
    times: int = option(2, "how many times in a row it must be little", min=1)
    force: bool = force()


class TeaBlockCache(Cache):
    """Every block; accumulated change of its own probe; residual. Around it, perhaps, a forecast of whole steps."""

    config: TeaBlockCacheConfig

    def designs(self, info: ModelInfo) -> tuple[Design, ...]:
        c = self.config
        polynomial = choose(c.coefficients, info, "teablockcache")
        window = Rules(final=1, sigma_from=c.sigma_from, sigma_to=c.sigma_to)
        blocks = Design(
            scope=Blocks(c.first),
            indicator=lambda: ProbeChange(c.threshold, polynomial, first_channels),
            rules=window,
            fingerprint=polynomial.fingerprint,
            never=c.threshold == 0,
        )
        if not c.taylor or blocks.never:
            return (blocks,)
        rules = replace(window, warmup=c.taylor + 1, max_consecutive=2)
        steps = Design(Stack(), lambda: Calm(c.calm, c.times), lambda: Taylor(OUTPUT, c.taylor), rules)
        return (blocks, steps)


def first_channels(probe: Any, moment: Moment) -> Any:
    """The first eighth of the channels; a copy, so that the rest need not be kept."""
    return probe[..., : max(probe.shape[-1] // 8, 1)].clone()


SPEC = preset(
    "teablockcache",
    "skip each block while the accumulated change of its own input stays below a threshold",
    TeaBlockCache,
    TeaBlockCacheConfig,
    (
        Reference(
            title="TeaBlockCache",
            authors="PaddleMIX Authors",
            year=2025,
            url=f"{TRAINING_FREE}/teablockcache",
            note="software without a paper or named authors; described in its README",
        ),
        TEACACHE,
        TAYLORSEER,
    ),
    trial="coefficients=identity:threshold=2:first=1",
)
