"""SSIM: scikit-image's values, its definition on one window, symmetry, bad pictures."""

import numpy as np
import pytest
from PIL import Image

from fastdiffusers.errors import InputError
from fastdiffusers.metrics import ssim


def patterns():
    y, x = np.mgrid[0:40, 0:52]
    a = np.stack([(5 * x + 3 * y) % 256, (x * y) % 256, (7 * y + 11) % 256], axis=-1)
    b = np.stack([(5 * x + 3 * y + 9) % 256, (x * y + x) % 256, (6 * y + 2 * x) % 256], axis=-1)
    return a.astype(np.uint8), b.astype(np.uint8)


def test_values_of_scikit_image():
    # skimage.metrics.structural_similarity(a, b, data_range=255 (then 1.0), gaussian_weights=True, sigma=1.5,
    # use_sample_covariance=False, channel_axis=2), scikit-image 0.26.0
    a, b = patterns()
    assert ssim(a, b) == pytest.approx(0.6697991706746875, abs=1e-12)
    smallest = a[:11, :11] / 255.0
    assert ssim(smallest, np.sqrt(smallest)) == pytest.approx(0.6323659978158539, abs=1e-12)


def test_one_window_by_the_definition():
    x, y = np.random.default_rng(1).random((2, 11, 11, 3))
    grid = np.exp(-0.5 * ((np.arange(11) - 5) / 1.5) ** 2)
    w = np.outer(grid, grid)
    w /= w.sum()
    channels = []
    for c in range(3):
        mx, my = (w * x[..., c]).sum(), (w * y[..., c]).sum()
        vx, vy = (w * (x[..., c] - mx) ** 2).sum(), (w * (y[..., c] - my) ** 2).sum()
        cov = (w * (x[..., c] - mx) * (y[..., c] - my)).sum()
        top, bottom = (2 * mx * my + 1e-4) * (2 * cov + 9e-4), (mx**2 + my**2 + 1e-4) * (vx + vy + 9e-4)
        channels.append(top / bottom)
    assert ssim(x, y) == pytest.approx(np.mean(channels), abs=1e-12)


def test_known_values():
    a, _ = patterns()
    black, white = np.zeros((20, 20, 3), np.uint8), np.full((20, 20, 3), 255, np.uint8)
    assert ssim(a, a) == 1.0
    assert ssim(black, white) == pytest.approx(1e-4 / (1 + 1e-4))  # only the constant c1 is left above the line
    pair = np.random.default_rng(0).random((2, 100, 100, 3))
    assert abs(ssim(*pair)) < 0.05


def test_symmetric():
    a, b = patterns()
    assert ssim(a, b) == ssim(b, a)
    assert ssim(a.transpose(1, 0, 2), b.transpose(1, 0, 2)) == pytest.approx(ssim(a, b), abs=1e-12)


def test_bytes_floats_and_images_are_the_same_picture():
    a, b = patterns()
    assert ssim(a / 255.0, b) == pytest.approx(ssim(a, b), abs=1e-12)
    assert ssim(Image.fromarray(a), Image.fromarray(b)) == ssim(a, b)


@pytest.mark.parametrize(
    ("picture", "message"),
    [
        (np.zeros((12, 20, 3)), "cannot be compared"),
        (np.zeros((20, 20)), "shape"),
        (np.zeros((0, 20, 3)), "shape"),
        (np.full((20, 20, 3), np.nan), "NaN"),
    ],
)
def test_bad_picture(picture, message):
    with pytest.raises(InputError, match=message):
        ssim(np.zeros((20, 20, 3)), picture)


def test_too_small():
    with pytest.raises(InputError, match="30 × 10 are too small"):
        ssim(np.zeros((10, 30, 3)), np.zeros((10, 30, 3)))
