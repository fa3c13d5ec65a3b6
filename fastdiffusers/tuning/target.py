"""What a setting is wanted for: to stay near the uncached picture, or to be fast enough."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from fastdiffusers.errors import InputError, one_of
from fastdiffusers.tuning.trial import Trial

FAITHFUL = ("max_distance", "min_psnr")  # the fastest setting that is near enough is wanted
FAST = ("target_speedup", "latency")  # the nearest setting that is fast enough is wanted


@dataclass(frozen=True)
class Target:
    """One of:

    - ``max_distance``: mean over the prompts of the latents' relative L1 distance from the uncached ones of the same
      seed, at most.
    - ``min_psnr``: mean PSNR of the pictures against the uncached ones in dB, at least (over those that differ).
    - ``target_speedup``: median over the prompts of uncached by accelerated denoising time, at least.
    - ``latency``: median seconds of one picture from prompt to pixels, at most.
    """

    kind: str
    value: float

    def __post_init__(self) -> None:
        if self.kind not in FAITHFUL + FAST:
            raise InputError(one_of("target", self.kind, FAITHFUL + FAST))
        if not (math.isfinite(self.value) and self.value > 0):
            raise InputError(f"--{self.kind.replace('_', '-')} {self.value:g} is not valid; it must be above 0")

    def met(self, trial: Trial) -> bool:
        """Whether what was measured is as wanted."""
        if trial.broken:
            return False
        if self.kind == "max_distance":
            return trial.distance <= self.value
        if self.kind == "min_psnr":
            return trial.psnr is None or trial.psnr >= self.value
        return trial.speedup >= self.value if self.kind == "target_speedup" else trial.latency <= self.value

    def wants_stronger(self, trial: Trial) -> bool:
        """Whether a stronger setting is to be tried after this one, or else a milder one."""
        return not trial.broken and self.met(trial) is (self.kind in FAITHFUL)

    def rank(self, trial: Trial, strength: float) -> tuple[float, ...]:
        """Sorts trials that meet the target, best first: by work where it is counted, which a clock only estimates.

        Where nobody counts it, the stronger setting is taken to be the faster one. Of equal ones the milder is best.
        """
        if self.kind in FAST:
            return (trial.distance, -trial.speedup, strength)
        if trial.fraction is None:
            return (-strength,)
        return (trial.fraction, trial.distance, strength)

    def shortfall(self, trial: Trial) -> float:
        """Sorts trials that do not meet the target: how far they are from it, least first."""
        if trial.broken:
            return math.inf
        if self.kind == "max_distance":
            return trial.distance
        if self.kind == "min_psnr":
            return -(math.inf if trial.psnr is None else trial.psnr)
        return -trial.speedup if self.kind == "target_speedup" else trial.latency

    def seen(self, trial: Trial) -> str:
        """What was measured of the wanted quantity, in words."""
        if self.kind == "max_distance":
            return f"a distance of {trial.distance:.3g}"
        if self.kind == "min_psnr":
            return "equal pictures" if trial.psnr is None else f"{trial.psnr:.1f} dB"
        return f"{trial.speedup:.2f}×" if self.kind == "target_speedup" else f"{trial.latency:.3g} s"

    def __str__(self) -> str:
        return {
            "max_distance": f"a distance of at most {self.value:g}",
            "min_psnr": f"at least {self.value:g} dB",
            "target_speedup": f"a speed-up of at least {self.value:g}×",
            "latency": f"at most {self.value:g} s for a picture",
        }[self.kind]


def read_seconds(text: str) -> float:
    """``"6s"``, ``"800ms"`` or a bare number of seconds."""
    found = re.fullmatch(r"(\d+(?:\.\d*)?|\.\d+)\s*(s|ms)?", text.strip().lower(), re.ASCII)
    if not found:
        raise InputError(f"--latency {text!r} is not valid; write seconds such as 6s, 0.8s or 800ms")
    return float(found[1]) / (1000 if found[2] == "ms" else 1)
