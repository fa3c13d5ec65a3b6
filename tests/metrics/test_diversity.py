"""Mean pairwise distance: known values, bad pictures."""

import numpy as np
import pytest

from fastdiffusers.errors import InputError
from fastdiffusers.metrics import pairwise_distance


def flat(*greys):
    return np.stack([np.full((4, 5, 3), grey, np.uint8) for grey in greys])


def test_known_values():
    assert pairwise_distance(flat(0, 255)) == 1.0
    assert pairwise_distance(flat(7, 7, 7)) == 0.0
    # the pairs are 51, 204 and 153 apart, of 255
    assert pairwise_distance(flat(0, 51, 204)) == pytest.approx((0.2 + 0.8 + 0.6) / 3)


def test_pixels_are_averaged_as_squares():
    pair = flat(0, 0)
    pair[1, :2, :, :] = 255  # half of the pixels
    assert pairwise_distance(pair) == pytest.approx(np.sqrt(0.5))


def test_noise():
    noise = np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3)).astype(np.uint8)
    assert pairwise_distance(noise) == pytest.approx(np.sqrt(1 / 6), abs=0.005)


@pytest.mark.parametrize(
    "bad", [flat(1), flat(0, 1)[..., :2], flat(0, 1)[0], flat(0, 1) / 255.0, np.zeros((2, 0, 4, 3))]
)
def test_bad_pictures(bad):
    with pytest.raises(InputError, match="are not valid; uint8") as error:
        pairwise_distance(bad)
    assert "\n" not in str(error.value)
