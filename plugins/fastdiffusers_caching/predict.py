"""What TeaCache will do, said before anything is loaded. No Paddle."""

from __future__ import annotations

import math

import numpy as np

from fastdiffusers.accelerator import Factor, Prediction, Setting
from fastdiffusers.caching.preset import refuse_few_steps, sigmas_of
from fastdiffusers.models.info import ModelInfo
from fastdiffusers_caching.options import TeaCacheConfig
from fastdiffusers_caching.polynomial import Polynomial, choose

PUBLISHED = {0.25: 1.5, 0.4: 1.8, 0.6: 2.0, 0.8: 2.25}  # threshold → how many times faster


def predict_teacache(config: TeaCacheConfig, info: ModelInfo, setting: Setting) -> Prediction:
    """Refuse what cannot work, and foretell the skips from the calibration's mean changes."""
    steps = refuse_few_steps("teacache", config.force, setting)
    polynomial = choose(config.coefficients, info)
    if config.threshold == 0:
        return Prediction(False, "threshold 0 computes every step", f"skips 0 of {steps}")
    least = polynomial.least()
    if config.threshold <= least:
        return Prediction(
            False,
            f"threshold {config.threshold:g} is not above {least:.3g}, the least the polynomial can give",
            f"skips 0 of {steps}",
        )
    reason = f"coefficients: {polynomial.source}"
    if polynomial.sigmas:
        computed = simulate(polynomial, config.threshold, sigmas_of(info, setting))
        skipped = steps - sum(computed)
        return Prediction(skipped > 0, reason, f"skips about {skipped} of {steps}")
    if least > 0:
        in_a_row = math.ceil(config.threshold / least) - 1
        factor = PUBLISHED.get(config.threshold) if info.name == "flux.1-dev" and steps == 28 else None
        source = "published for FLUX.1-dev, 28 steps on an A800"
        return Prediction(
            True,
            reason,
            f"skips at most {in_a_row} steps in a row",
            factor=None if factor is None else Factor(factor, source),
        )
    return Prediction(True, reason, "number of skips unknown without a calibration")


def simulate(polynomial: Polynomial, threshold: float, sigmas: np.ndarray) -> list[bool]:
    """Which steps would be computed if the probe changed as it did, on average, in the calibration."""
    known = np.asarray(polynomial.sigmas)[::-1]
    travelled = np.cumsum(np.asarray(polynomial.changes))[::-1]
    at = np.interp(sigmas, known, travelled)
    pattern, accumulated = [True], 0.0
    for i in range(1, len(sigmas)):
        accumulated += polynomial(float(at[i] - at[i - 1]))
        compute = accumulated >= threshold or i == len(sigmas) - 1
        accumulated = 0.0 if compute else accumulated
        pattern.append(compute)
    return pattern
