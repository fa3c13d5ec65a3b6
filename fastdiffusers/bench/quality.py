"""The price of an acceleration: how far its picture is from the baseline's with the same prompt and seed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastdiffusers.metrics.psnr import psnr
from fastdiffusers.metrics.rel_l1 import rel_l1
from fastdiffusers.metrics.ssim import WINDOW, ssim


@dataclass(frozen=True)
class Price:
    """One picture against its baseline.

    Attributes:
        psnr: dB, infinite for equal pictures.
        ssim: at most 1; None for pictures too small for its window.
        rel_l1: mean|latents − baseline's| / mean|baseline's|.
        features: Euclidean distance of a network's features of both; None where no network looked at them.
        same_picture: the pictures are equal, pixel for pixel.
        same_latents: the latents are equal, bit for bit.
    """

    psnr: float
    ssim: float | None
    rel_l1: float
    same_picture: bool
    same_latents: bool
    features: float | None = None


def price(
    image: Any, latents: Any, base_image: Any, base_latents: Any, features: Any = None, base_features: Any = None
) -> Price:
    """Compare a picture (PIL or array), its latents and its features ``[D]``, if any, with the baseline's.

    `InputError` if they cannot be compared.
    """
    first, second = np.asarray(image), np.asarray(base_image)
    large_enough = min(first.shape[:2]) >= WINDOW
    latents, base_latents = np.asarray(latents), np.asarray(base_latents)
    return Price(
        psnr=psnr(first, second),
        ssim=ssim(first, second) if large_enough else None,
        rel_l1=rel_l1(latents, base_latents),
        same_picture=bool(np.array_equal(first, second)),
        same_latents=bool(np.array_equal(latents, base_latents)),
        features=None if features is None else _distance(features, base_features),
    )


def summarise(prices: Sequence[Price]) -> dict[str, Any] | None:
    """Mean and worst over prompts, as JSON; None without any.

    An infinite PSNR is no number in JSON and would swallow every other in a mean: ``psnr`` is the mean over those
    pictures that differ from the baseline's, and None exactly when none does (``identical``).
    """
    if not prices:
        return None
    differing = [item.psnr for item in prices if math.isfinite(item.psnr)]
    similar = [item.ssim for item in prices if item.ssim is not None]
    distances = [item.rel_l1 for item in prices]
    seen = [item.features for item in prices if item.features is not None]
    return {
        "psnr": _mean(differing),
        "ssim": _mean(similar),
        "rel_l1": _mean(distances),
        "features": _mean(seen),
        "identical": all(item.same_picture for item in prices),
        "identical_latents": all(item.same_latents for item in prices),
        "identical_pictures": sum(item.same_picture for item in prices),
        "n": len(prices),
        "worst": {
            "psnr": min(differing, default=None),
            "ssim": min(similar, default=None),
            "rel_l1": max(distances),
            "features": max(seen, default=None),
        },
    }


def _distance(a: Any, b: Any) -> float:
    return float(np.linalg.norm(np.asarray(a, np.float64) - np.asarray(b, np.float64)))


def _mean(values: Sequence[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None
