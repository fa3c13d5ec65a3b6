"""Whether a difference can be told from noise, and the price of a picture."""

import numpy as np
import pytest

from fastdiffusers.bench.quality import price, summarise
from fastdiffusers.bench.spread import distinguishable, noisiest, spread


@pytest.mark.parametrize(
    ("ratios", "expected"),
    [
        ([1.5], None),
        ([1.5, 1.4], True),
        ([0.8, 0.7, 0.9], True),
        ([1.5, 1.4, 0.99], False),
        ([1.0, 1.0], False),
        ([1.5] * 6, True),
        ([1.5] * 5 + [0.9], False),  # sign test: p = 0.22
        ([1.5] * 8 + [0.9], True),  # p = 0.039
        ([1.0] * 8, False),
    ],
)
def test_distinguishable(ratios, expected):
    assert distinguishable(ratios) is expected


def test_spread_and_noise():
    assert spread([3.0, 1.0, 2.0]) == {"median": 2.0, "min": 1.0, "max": 3.0, "n": 3}
    assert spread([]) is None
    assert noisiest([(0, 1.0), (1, 5.0), (0, 1.5)]) == pytest.approx(1.5)
    assert noisiest([(0, 1.0), (1, 5.0)]) == 1.0


def picture(value, size=16):
    return np.full((size, size, 3), value, np.uint8)


def test_black_and_white_are_0_db_apart_and_equal_pictures_identical():
    latents = np.ones((1, 2, 2), np.float32)
    far = price(picture(0), latents * 3, picture(255), latents)
    assert far.psnr == 0.0 and far.rel_l1 == 2.0 and not far.same_picture
    same = price(picture(7), latents, picture(7), latents)
    assert same.psnr == float("inf") and same.same_picture and same.same_latents


def test_an_equal_picture_does_not_swallow_the_mean():
    latents = np.ones((1, 2, 2), np.float32)
    same = price(picture(7), latents, picture(7), latents)
    near = price(picture(17), latents * 1.5, picture(7), latents)
    summary = summarise([same, near])
    assert summary["psnr"] == pytest.approx(near.psnr) and summary["identical"] is False
    assert summary["identical_pictures"] == 1 and summary["n"] == 2
    assert summary["rel_l1"] == pytest.approx(0.25)
    assert summary["worst"] == {"psnr": near.psnr, "ssim": near.ssim, "rel_l1": 0.5, "features": None}
    assert summarise([]) is None


def test_a_picture_too_small_for_ssim_has_none():
    latents = np.ones((1, 2, 2), np.float32)
    assert price(picture(0, 8), latents, picture(9, 8), latents).ssim is None
