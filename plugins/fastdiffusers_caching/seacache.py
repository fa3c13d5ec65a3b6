"""SeaCache (Chung et al. 2026, arXiv 2602.18993): TeaCache's accumulator on a probe that is filtered first.

acc += δ(filtered m_t, filtered m_{t−1}), each filtered for its own noise level (see `spectral`); a step is computed if
acc ≥ threshold. There is no polynomial, so nothing has to be calibrated.
"""

from __future__ import annotations

from dataclasses import dataclass

from fastdiffusers.accelerator import Reference
from fastdiffusers.caching.cache import Cache
from fastdiffusers.caching.design import Design, Rules
from fastdiffusers.caching.indicators import ProbeChange
from fastdiffusers.caching.preset import preset
from fastdiffusers.caching.scopes import Stack
from fastdiffusers.models.info import ModelInfo
from fastdiffusers_caching.options import force, threshold
from fastdiffusers_caching.spectral import spectral_filter


@dataclass(frozen=True)
class SeaCacheConfig:
    """Options of ``seacache``; for FLUX.1-dev 0.3 (computes about half) and 0.6 (about 30 %) are published."""

    threshold: float = threshold(0.3, "accumulated change of the filtered probe at which a step is computed", 0.02, 3.0)
    force: bool = force()


class SeaCache(Cache):
    """Whole stack; accumulated change of the filtered probe; residual."""

    config: SeaCacheConfig

    def designs(self, info: ModelInfo) -> tuple[Design, ...]:
        t = self.config.threshold
        return (Design(Stack(), lambda: ProbeChange(t, view=spectral_filter), rules=Rules(final=1), never=t == 0),)


SPEC = preset(
    "seacache",
    "skip whole steps while the first block's input, with the noise filtered out, changes little",
    SeaCache,
    SeaCacheConfig,
    (
        Reference(
            title="SeaCache: Spectral-Evolution-Aware Cache for Accelerating Diffusion Models",
            authors="Jiwoo Chung and Sangeek Hyun and MinKyu Lee and Byeongju Han and Geonho Cha and Dongyoon Wee "
            "and Youngjun Hong and Jae-Pil Heo",
            year=2026,
            arxiv="2602.18993",
            note="CVPR 2026",
        ),
    ),
    walks=False,
    trial="threshold=0.6",
)
