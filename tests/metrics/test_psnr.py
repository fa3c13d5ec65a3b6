"""PSNR: known values, scikit-image's value, symmetry, bad pictures."""

import math

import numpy as np
import pytest
from PIL import Image

from fastdiffusers.errors import InputError
from fastdiffusers.metrics import psnr


def patterns():
    y, x = np.mgrid[0:40, 0:52]
    a = np.stack([(5 * x + 3 * y) % 256, (x * y) % 256, (7 * y + 11) % 256], axis=-1)
    b = np.stack([(5 * x + 3 * y + 9) % 256, (x * y + x) % 256, (6 * y + 2 * x) % 256], axis=-1)
    return a.astype(np.uint8), b.astype(np.uint8)


def test_value_of_scikit_image():
    # skimage.metrics.peak_signal_noise_ratio(a, b, data_range=255), scikit-image 0.26.0
    assert psnr(*patterns()) == pytest.approx(11.642136558857567, abs=1e-9)


def test_known_values():
    a, _ = patterns()
    black, white = np.zeros((4, 5, 3), np.uint8), np.full((4, 5, 3), 255, np.uint8)
    assert psnr(a, a) == math.inf
    assert psnr(black, white) == 0.0 and math.copysign(1, psnr(black, white)) == 1
    assert psnr(np.zeros((3, 3, 3)), np.full((3, 3, 3), 0.1)) == pytest.approx(20.0)


def test_random_pair_is_one_sixth_of_mean_squared_error():
    random = np.random.default_rng(0)
    pair = random.random((2, 200, 200, 3))
    assert psnr(*pair) == pytest.approx(10 * math.log10(6), abs=0.05)  # E(u − v)² = 1/6 for uniform u, v


def test_symmetric():
    a, b = patterns()
    assert psnr(a, b) == psnr(b, a)


def test_bytes_floats_and_images_are_the_same_picture():
    a, b = patterns()
    expected = psnr(a, b)
    assert psnr(a / 255.0, b) == pytest.approx(expected, abs=1e-9)
    assert psnr((a / 255.0).astype(np.float32), (b / 255.0).astype(np.float32)) == pytest.approx(expected, abs=1e-4)
    assert psnr(Image.fromarray(a), Image.fromarray(b).convert("RGBA")) == expected


@pytest.mark.parametrize(
    ("picture", "message"),
    [
        (np.zeros((5, 4, 3)), "cannot be compared"),
        (np.zeros((4, 5)), r"shape \[4, 5\]"),
        (np.zeros((4, 5, 4)), r"shape \[4, 5, 4\]"),
        (np.zeros((0, 5, 3)), r"shape \[0, 5, 3\]"),
        (np.full((4, 5, 3), np.nan), "NaN"),
        (np.full((4, 5, 3), np.inf), "NaN or infinite"),
        (np.full((4, 5, 3), 1.5), "1.5"),
        (np.full((4, 5, 3), -0.5), "-0.5"),
        (np.zeros((4, 5, 3), np.int64), "int64"),
        (None, "shape"),
    ],
)
def test_bad_picture(picture, message):
    good = np.zeros((4, 5, 3))
    for pair in [(good, picture), (picture, good)]:
        with pytest.raises(InputError, match=message) as error:
            psnr(*pair)
        assert "\n" not in str(error.value)
