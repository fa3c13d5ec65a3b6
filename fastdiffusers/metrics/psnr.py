"""Peak signal-to-noise ratio: how far two pictures are apart pixel by pixel."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastdiffusers.metrics.picture import picture_pair


def psnr(a: Any, b: Any) -> float:
    """10·log₁₀(1 / mean squared error) in dB, higher is nearer; infinite for equal pictures, 0 for black and white.

    Each picture is a PIL image, uint8 [H, W, 3] or floats [H, W, 3] in [0, 1]; the error is the mean over all pixels
    and channels. The order of the two does not matter. Raises `InputError` for pictures that cannot be compared.
    """
    first, second = picture_pair(a, b)
    error = float(np.mean(np.square(first - second)))
    return math.inf if error == 0 else -10.0 * math.log10(error) + 0.0
