"""A tiny FLUX with the calibrations that presets need."""

import numpy as np
import pytest


@pytest.fixture(scope="module")
def pipe():
    from fastdiffusers.testing import tiny_flux
    from fastdiffusers_caching.magnitude import Magnitudes, keep_magnitudes

    made = tiny_flux()
    sigmas = tuple(np.linspace(1, 0.05, 20))
    keep_magnitudes(Magnitudes(sigmas, (1.0, *[1.05] * 19), "made up"), made.info)
    return made
