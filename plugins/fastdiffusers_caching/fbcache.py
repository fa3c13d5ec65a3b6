"""First Block Cache (Cheng 2025), for FLUX.

ρ_t = h⁰_t − x_t, the image residual of double block 0, which is always run. The step is skipped if δ(ρ_t, ρ_ref) < τ,
where ρ_ref belongs to the last computed step: the residual of the remaining blocks is then added again.
"""

from __future__ import annotations

from dataclasses import dataclass

from fastdiffusers.accelerator import Reference
from fastdiffusers.caching.cache import Cache
from fastdiffusers.caching.design import Design
from fastdiffusers.caching.indicators import FirstBlocks
from fastdiffusers.caching.preset import preset
from fastdiffusers.caching.scopes import Between
from fastdiffusers.models.info import ModelInfo
from fastdiffusers_caching.options import force, threshold

PARA_ATTENTION = Reference(
    title="ParaAttention: Context parallel attention that accelerates DiT model inference with dynamic caching",
    authors="Zeyi Cheng",
    year=2025,
    url="https://github.com/chengzeyi/ParaAttention",
    note="First Block Cache, there since January 2025; software without a paper, title from its README",
)


@dataclass(frozen=True)
class FBCacheConfig:
    """Options of ``fbcache``; 0.05 to 0.12 are published for FLUX.1-dev."""

    threshold: float = threshold(
        0.08, "change of the first block's residual below which the rest is skipped", 0.01, 1.0
    )
    force: bool = force()


class FBCache(Cache):
    """First block, then the rest; distance to the last computed step; residual."""

    config: FBCacheConfig

    def designs(self, info: ModelInfo) -> tuple[Design, ...]:
        tau = self.config.threshold
        return (Design(Between(first=1), lambda: FirstBlocks(tau), never=tau == 0),)


SPEC = preset(
    "fbcache",
    "skip all but the first block while that block's residual is near that of the last computed step",
    FBCache,
    FBCacheConfig,
    (PARA_ATTENTION,),
    trial="threshold=2",
)
