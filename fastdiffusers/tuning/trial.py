"""One setting, measured: interleaved with uncached runs of the same prompts and seeds, as a bench does it."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fastdiffusers.bench.arms import PlannedArm
from fastdiffusers.bench.measure import Bench, computed_steps
from fastdiffusers.errors import NumericalError, PluginError


@dataclass(frozen=True)
class Trial:
    """What was measured of one value of the tuned option.

    Attributes:
        value: of the option.
        ratios: uncached by accelerated denoising time, for each prompt and repetition.
        seconds, plain_seconds: of one whole picture, accelerated and uncached.
        distances: relative L1 of the latents against the uncached ones, for each prompt.
        psnrs: dB against the uncached picture, for each prompt; infinite for equal ones.
        fraction: share of the network's work that was computed, None where nobody counts it.
        broken: why there is nothing to measure: the latents were no numbers any more. Empty otherwise.
    """

    value: float
    ratios: tuple[float, ...]
    seconds: tuple[float, ...]
    plain_seconds: tuple[float, ...]
    distances: tuple[float, ...]
    psnrs: tuple[float, ...]
    fraction: float | None = None
    broken: str = ""

    @property
    def speedup(self) -> float:
        """Median ratio of the denoising times."""
        return statistics.median(self.ratios or [0.0])

    @property
    def latency(self) -> float:
        """Median seconds of a picture."""
        return statistics.median(self.seconds or [math.inf])

    @property
    def distance(self) -> float:
        """Mean over the prompts."""
        return math.fsum(self.distances) / len(self.distances) if self.distances else math.inf

    @property
    def psnr(self) -> float | None:
        """Mean over the pictures that differ from the uncached ones; None when none does."""
        differing = self._differing()
        return math.fsum(differing) / len(differing) if differing else None

    @property
    def worst_psnr(self) -> float | None:
        """That of the picture that differs most."""
        return min(self._differing(), default=None)

    def to_dict(self) -> dict[str, Any]:
        """The figures as JSON can hold them."""
        if self.broken:
            return {"value": self.value, "broken": self.broken}
        return {
            "value": self.value,
            "computed": self.fraction,
            "speedup": self.speedup,
            "latency": self.latency,
            "uncached_latency": statistics.median(self.plain_seconds),
            "distance": self.distance,
            "psnr": self.psnr,
            "worst_psnr": self.worst_psnr,
            "runs": len(self.ratios),
        }

    def _differing(self) -> list[float]:
        return [value for value in self.psnrs if math.isfinite(value)]


def measure_trial(bench: Bench, plain: PlannedArm, arm: PlannedArm, value: float) -> Trial:
    """Draw every prompt uncached and with ``arm``, in turns. Ctrl-C is raised: half a trial is none."""
    found = bench.measure([plain, arm])
    if found.interrupted:
        raise KeyboardInterrupt
    base, own = found.arms
    plain_seconds = tuple(sample.seconds for sample in base.samples)
    if own.error.startswith(NumericalError.__name__):
        return Trial(value, (), (), plain_seconds, (), (), broken=own.error)
    if own.error:
        raise PluginError(f"{arm.arm.label}: {own.error}")
    pairs = list(zip(base.samples, own.samples, strict=True))
    shares = [share for sample in own.samples if (share := _share(sample.records)) is not None]
    return Trial(
        value=value,
        ratios=tuple(one.stages["denoise"] / other.stages["denoise"] for one, other in pairs),
        seconds=tuple(sample.seconds for sample in own.samples),
        plain_seconds=plain_seconds,
        distances=tuple(price.rel_l1 for price in own.prices.values()),
        psnrs=tuple(price.psnr for price in own.prices.values()),
        fraction=statistics.mean(shares) if shares else None,
    )


def _share(records: list[dict[str, Any]]) -> float | None:
    count = computed_steps(records)
    return None if count is None else count[0] / count[1]


Measure = Callable[[float], Trial]
