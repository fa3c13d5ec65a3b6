"""SeaCache's filter against a discrete Fourier transform written out here."""

from types import SimpleNamespace

import numpy as np
import paddle
import pytest

from fastdiffusers.caching.indicators import Moment
from fastdiffusers.errors import PluginError
from fastdiffusers_caching.spectral import filter_matrix, gain, spectral_filter


def direct(picture, sigma):
    """The filter from its definition, for a picture [rows, columns], with sums over all pixels and frequencies."""
    rows, columns = picture.shape
    sigma = min(max(sigma, 1e-6), 1 - 1e-6)

    def g(index, size):
        frequency = min(index, size - index) / size
        s = 1 / (frequency**2 + 1e-16)
        return (1 - sigma) * s / ((1 - sigma) ** 2 * s + sigma**2)

    weights = np.array([[g(u, rows) * g(v, columns) for v in range(columns)] for u in range(rows)])
    weights /= weights.mean()
    y, x = np.mgrid[:rows, :columns]
    out = np.zeros(picture.shape, complex)
    for u in range(rows):
        for v in range(columns):
            wave = np.exp(2j * np.pi * (u * y / rows + v * x / columns))
            out += weights[u, v] * (picture * wave.conj()).sum() / picture.size * wave
    assert np.abs(out.imag).max() < 1e-6 * np.abs(out.real).max()
    return out.real


@pytest.mark.parametrize("sigma", [1.0, 0.9, 0.5, 0.1, 0.0])
@pytest.mark.parametrize("grid", [(4, 6), (5, 3), (1, 4)])
def test_it_is_the_filter_of_the_definition(sigma, grid):
    rows, columns = grid
    tokens = np.random.default_rng(0).standard_normal((2, rows * columns, 3)).astype(np.float32)
    walk = SimpleNamespace(image_of=lambda probe: probe)
    moment = Moment(0, 1, sigma, grid, walk=walk)
    found = spectral_filter(paddle.to_tensor(tokens), moment).numpy()
    assert found.shape == tokens.shape
    for batch in range(2):
        for channel in range(3):
            wanted = direct(tokens[batch, :, channel].reshape(grid).astype(np.float64), sigma)
            np.testing.assert_allclose(found[batch, :, channel].reshape(grid), wanted, rtol=2e-4, atol=2e-4)


def test_noise_is_damped_when_there_is_much_and_kept_when_there_is_none():
    assert gain(8, 1.0)[0] == pytest.approx(8, rel=1e-3)  # nothing but the mean is left
    np.testing.assert_allclose(gain(8, 0.0), 1.0, rtol=1e-6)
    half = gain(8, 0.5)
    assert half[0] > half[1] > half[2] > half[3] > half[4] and half[1] == pytest.approx(half[7])
    for sigma in (0.0, 0.3, 1.0):
        assert gain(16, sigma).mean() == pytest.approx(1)


def test_the_matrix_is_symmetric():
    matrix = filter_matrix(6, 0.4)
    np.testing.assert_allclose(matrix, matrix.T, atol=1e-6)


def test_a_grid_that_does_not_fit_is_refused():
    walk = SimpleNamespace(image_of=lambda probe: probe)
    for grid in (None, (3, 3)):
        with pytest.raises(PluginError, match="for 8 image tokens"):
            spectral_filter(paddle.zeros([1, 8, 2]), Moment(0, 1, 0.5, grid, walk=walk))
