"""MagCache's indicator and what it is calibrated to: how the residual's magnitude changes along σ. No Paddle.

γ_t = mean over tokens of ‖r_t‖ / ‖r_{t−1}‖ hardly depends on the prompt. The product of γ since the last computed step
says how far the residual has moved away; as sums of log γ along σ it is known for any number of steps.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from fastdiffusers.caching.indicators import Indicator, Moment
from fastdiffusers.errors import PlanError
from fastdiffusers.models.info import ModelInfo
from fastdiffusers_caching import calibration_file


@dataclass(frozen=True)
class Magnitudes:
    """γ for each of the falling ``sigmas`` (1 for the first), and where it was measured."""

    sigmas: tuple[float, ...]
    ratios: tuple[float, ...]
    source: str

    def log(self, sigma: float) -> float:
        """Sum of log γ from the first noise level down to ``sigma``, interpolated."""
        known, sums = self._table
        return float(np.interp(sigma, known, sums))

    @cached_property
    def _table(self) -> tuple[Any, Any]:
        return np.asarray(self.sigmas)[::-1], np.cumsum(np.log(self.ratios))[::-1]

    @property
    def fingerprint(self) -> str:
        """Twelve hexadecimal digits that differ wherever the ratios do."""
        return hashlib.sha256(repr((self.sigmas, self.ratios)).encode()).hexdigest()[:12]


class MagnitudeDrift(Indicator):
    """Due unless the errors |1 − Πγ| of the steps since the last computed one add up to at most ``threshold``."""

    blind = True

    def __init__(self, threshold: float, magnitudes: Magnitudes) -> None:
        self.threshold = threshold
        self.magnitudes = magnitudes
        self.error = 0.0
        self.reference = 0.0

    def due(self, moment: Moment) -> bool:
        self.error += abs(1.0 - math.exp(self.magnitudes.log(moment.sigma) - self.reference))
        self.distance = self.error
        return not self.error <= self.threshold

    def note(self, moment: Moment, computed: bool) -> None:
        if computed:
            self.error, self.reference = 0.0, self.magnitudes.log(moment.sigma)


def keep_magnitudes(magnitudes: Magnitudes, info: ModelInfo) -> Path:
    """Keep a calibration beside the model (or in the user's cache); returns the file written."""
    return calibration_file.write("magcache", asdict(magnitudes), info)


def kept_magnitudes(info: ModelInfo) -> Magnitudes:
    """The model's own calibration; a `PlanError` with the command to run when there is none."""
    found = calibration_file.read("magcache", info, _parse)
    if found is None:
        words = calibration_file.command("magcache", info)
        raise PlanError(f"magcache has no magnitudes for {info.name}: run `{words}` once")
    return found


def _parse(content: dict[str, Any]) -> Magnitudes:
    sigmas, ratios = (tuple(float(v) for v in content[key]) for key in ("sigmas", "ratios"))
    if len(sigmas) != len(ratios) or not all(0 < ratio < math.inf for ratio in ratios):
        raise ValueError("it holds ratios that are not positive numbers, or not one for each sigma")
    return Magnitudes(sigmas, ratios, str(content["source"]))
