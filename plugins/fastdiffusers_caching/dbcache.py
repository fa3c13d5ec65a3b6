"""DBCache (cache-dit 2025): First Block Cache with Fn blocks before the decision and Bn always computed after.

ρ_t is the image residual of the first Fn blocks; the blocks between are skipped if δ(ρ_t, ρ_ref) < τ. What stands in
for their residual is the last one, or its Taylor forecast of order 1 or 2 (see ``taylorseer``).
"""

from __future__ import annotations

from dataclasses import dataclass

from fastdiffusers.accelerator import Reference
from fastdiffusers.caching.cache import Cache
from fastdiffusers.caching.design import Design, Rules
from fastdiffusers.caching.estimators import Taylor
from fastdiffusers.caching.indicators import FirstBlocks
from fastdiffusers.caching.preset import preset
from fastdiffusers.caching.scopes import Between
from fastdiffusers.models.info import ModelInfo
from fastdiffusers_caching.options import force, option, threshold


@dataclass(frozen=True)
class DBCacheConfig:
    """Options of ``dbcache``; the defaults are cache-dit's; faster: F1B0, warm-up 4, 4 in a row, τ 0.12, order 1."""

    threshold: float = threshold(
        0.08, "change of the first blocks' residual below which the next are skipped", 0.01, 1.0
    )
    first: int = option(8, "Fn: blocks that are always run before the decision", min=1)
    last: int = option(0, "Bn: blocks that are always run after it", min=0)
    warmup: int = option(8, "steps at the beginning that are always computed", min=1)
    max_skips: int | None = option(None, "how many steps may be skipped in all", min=0)
    max_consecutive: int | None = option(None, "how many steps may be skipped in a row", min=0)
    order: int = option(0, "order of the Taylor forecast of the skipped residual; 0 reuses the last one", min=0, max=2)
    force: bool = force()


class DBCache(Cache):
    """First blocks, the rest, last blocks; distance to the last computed step; residual or its forecast."""

    config: DBCacheConfig

    def designs(self, info: ModelInfo) -> tuple[Design, ...]:
        c = self.config
        rules = Rules(warmup=c.warmup, max_skips=c.max_skips, max_consecutive=c.max_consecutive)
        scope, never = Between(c.first, c.last), c.threshold == 0
        return (Design(scope, lambda: FirstBlocks(c.threshold), lambda: Taylor(order=c.order), rules, never=never),)


SPEC = preset(
    "dbcache",
    "skip the blocks between the first and the last few while the first ones' residual hardly changes",
    DBCache,
    DBCacheConfig,
    (
        Reference(
            title="Cache-DiT: A PyTorch-native Inference Engine with Cache, Parallelism, Quantization and CPU Offload "
            "for DiTs",
            authors="DefTruth and vipshop.com and others",
            year=2025,
            url="https://github.com/vipshop/cache-dit",
            note="DBCache; software without a paper, cited as its README asks",
        ),
    ),
    trial="threshold=2:first=1:last=1:warmup=3:order=1",
)
