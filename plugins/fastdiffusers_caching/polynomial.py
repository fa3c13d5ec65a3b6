"""TeaCache's polynomial P: from the change of the probe to the expected change of the output. No Paddle.

P was fitted for one model; on another it means nothing. So a model's own fit lies beside it, and nothing else is taken
unless it is asked for by name.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fastdiffusers.errors import InputError, PlanError
from fastdiffusers.models.info import ModelInfo
from fastdiffusers_caching import calibration_file

DEGREE = 4
# Liu et al. 2025, published for FLUX.1-dev; highest power first. float64 matters: the terms nearly cancel.
FLUX_DEV = (498.651651, -283.781631, 55.8554382, -3.82021401, 0.264230861)
_FLUX_DEV_SHAPE = {
    "num_layers": 19,
    "num_single_layers": 38,
    "num_attention_heads": 24,
    "attention_head_dim": 128,
    "guidance_embeds": True,
}


@dataclass(frozen=True)
class Polynomial:
    """P, highest power first, and where it comes from.

    ``low`` and ``high`` bound the probe changes it was fitted on; outside of them P is taken at the bound, since a
    polynomial of degree four means nothing there (the published one carries no bounds and is used as it stands).
    ``sigmas`` and ``changes`` are the fit's mean probe change up to each sigma, from which a plan predicts the skips.
    """

    coefficients: tuple[float, ...]
    source: str
    low: float = 0.0
    high: float = math.inf
    r2: float | None = None
    sigmas: tuple[float, ...] = ()
    changes: tuple[float, ...] = ()

    def __call__(self, change: float) -> float:
        """Expected relative L1 change of the output; never negative."""
        value = 0.0
        bounded = min(max(change, self.low), self.high)
        for coefficient in self.coefficients:
            value = value * bounded + coefficient
        return max(value, 0.0)

    @property
    def fingerprint(self) -> str:
        """Twelve hexadecimal digits that differ wherever P gives other values; where it comes from does not count."""
        content = json.dumps([self.coefficients, self.low, self.high])
        return hashlib.sha256(content.encode()).hexdigest()[:12]

    def least(self) -> float:
        """The smallest value of P within its bounds (within [0, 1] if it has none): a lower threshold never skips."""
        high = self.high if math.isfinite(self.high) else 1.0
        return min(self(float(change)) for change in np.linspace(self.low, high, 2001))


IDENTITY = Polynomial((1.0, 0.0), "identity")


def fit(probe: list[float], output: list[float], sigmas: list[float], per_step: list[float], source: str) -> Polynomial:
    """Least squares of degree 4 through (probe change, output change) pairs (Liu et al. 2025, eq. 7)."""
    x, y = np.asarray(probe, np.float64), np.asarray(output, np.float64)
    if len(x) <= 2 * DEGREE or not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise InputError(f"{len(x)} finite pairs are too few for a fit; use more prompts or steps")
    if not (x.max() > x.min() and y.max() > y.min()):
        raise InputError("probe or output does not change from step to step; there is nothing to fit on this model")
    # scaled to [0, 1] while fitting: powers up to eight of small numbers would be lost otherwise
    scale = float(x.max())
    coefficients = np.polyfit(x / scale, y, DEGREE) / scale ** np.arange(DEGREE, -1, -1)
    residual = y - np.polyval(coefficients, x)
    r2 = 1 - float(residual @ residual) / float(((y - y.mean()) ** 2).sum())
    return Polynomial(
        tuple(float(c) for c in coefficients),
        source,
        low=float(x.min()),
        high=scale,
        r2=r2,
        sigmas=tuple(sigmas),
        changes=tuple(per_step),
    )


def store(polynomial: Polynomial, info: ModelInfo) -> Path:
    """Keep a calibration beside the model (or in the user's cache); returns the file written."""
    return calibration_file.write("teacache", asdict(polynomial), info)


def stored(info: ModelInfo) -> Polynomial | None:
    """The model's own calibration, or None. One made for other weights is an error: they were changed since."""
    return calibration_file.read("teacache", info, _parse)


def _parse(content: dict[str, Any]) -> Polynomial:
    numbers = {key: tuple(float(v) for v in content[key]) for key in ("coefficients", "sigmas", "changes")}
    polynomial = Polynomial(
        source=str(content["source"]),
        low=float(content["low"]),
        high=float(content["high"]),
        r2=float(content["r2"]),
        **numbers,
    )
    numbers_read = (*polynomial.coefficients, *polynomial.sigmas, *polynomial.changes)
    if not all(map(math.isfinite, (*numbers_read, polynomial.low, polynomial.high))):
        raise ValueError("it holds NaN or infinity")
    return polynomial


def choose(coefficients: str, info: ModelInfo, name: str = "teacache") -> Polynomial:
    """The polynomial that the option ``coefficients`` means for this model; a `PlanError` if there is none.

    ``name`` is the cache that asks.
    """
    if coefficients == "identity":
        return IDENTITY
    if coefficients == "flux.1-dev":
        return Polynomial(FLUX_DEV, "published for FLUX.1-dev, asked for")
    own = stored(info)
    if own is not None:
        return own
    if all(info.transformer.get(key) == value for key, value in _FLUX_DEV_SHAPE.items()):
        return Polynomial(FLUX_DEV, "published for FLUX.1-dev")
    raise PlanError(
        f"{name} has no coefficients for {info.name}: run `{calibration_file.command('teacache', info)}` once, or "
        "ask for coefficients=flux.1-dev (fitted on another model) or coefficients=identity"
    )
