"""A tiny FLUX, and how it draws."""

import numpy as np
import pytest


@pytest.fixture(scope="module")
def pipe():
    from fastdiffusers.testing import tiny_flux

    return tiny_flux()


@pytest.fixture
def draw(pipe):
    def drawn(**changes):
        given = {"prompt": "a red apple", "seed": 1, "num_inference_steps": 10, "output_type": "latent", **changes}
        return np.asarray(pipe(**given).latents)

    return drawn
