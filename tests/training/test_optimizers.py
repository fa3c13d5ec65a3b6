"""Muon, AdamW, the average of the weights and the learning rate, against their definitions."""

import numpy as np
import paddle
import pytest

from fastdiffusers.training.adamw import AdamW
from fastdiffusers.training.ema import ExponentialMovingAverage
from fastdiffusers.training.muon import Muon, orthogonalize
from fastdiffusers.training.recipe import TrainerConfig
from fastdiffusers.training.schedule import learning_rate

RNG = np.random.default_rng(0)


def tensor(*shape: int) -> paddle.Tensor:
    return paddle.to_tensor(RNG.standard_normal(shape).astype(np.float32))


@pytest.mark.parametrize("shape", [(3, 8, 8), (2, 6, 20), (2, 20, 6)])
def test_orthogonalize_moves_singular_values_to_one_and_keeps_the_directions(shape):
    u, s, vt = np.linalg.svd(RNG.standard_normal(shape), full_matrices=False)
    s = np.broadcast_to(np.linspace(3.0, 0.3, s.shape[1]), s.shape)  # a singular value near zero would stay there
    matrices = paddle.to_tensor(((u * s[:, None]) @ vt).astype(np.float32))
    result = orthogonalize(matrices).numpy()
    for before, after in zip(matrices.numpy(), result, strict=True):
        u, _, vt = np.linalg.svd(before, full_matrices=False)
        inner = u.T @ after @ vt.T
        assert np.abs(inner - np.diag(np.diag(inner))).max() < 1e-3
        assert np.diag(inner).min() > 0.5 and np.diag(inner).max() < 1.3


def test_muon_is_nesterov_momentum_orthogonalised_and_scaled_like_adamw():
    weight, kernel = tensor(6, 10), tensor(4, 3, 3, 3)
    start = {"weight": weight.numpy(), "kernel": kernel.numpy()}
    parameters = {"weight": weight, "kernel": kernel}
    gradients = [{name: tensor(*value.shape) for name, value in parameters.items()} for _ in range(2)]
    muon = Muon()
    for step in gradients:
        muon.update(parameters, step, lr=0.1, weight_decay=0.02)
    for name, value in start.items():
        first, second = (step[name].numpy() for step in gradients)
        momentum, expected = first, value
        for gradient in (first, second):
            momentum = gradient if gradient is first else 0.95 * momentum + gradient
            flat = (gradient + 0.95 * momentum).reshape(len(value), -1)
            step = orthogonalize(paddle.to_tensor(flat[None])).numpy()[0].reshape(value.shape)
            expected = expected * (1 - 0.1 * 0.02) - 0.1 * 0.2 * np.sqrt(max(flat.shape)) * step
        np.testing.assert_allclose(parameters[name].numpy(), expected, atol=1e-5)


def test_muon_keeps_no_view_of_the_gradient():
    muon, weight, gradient = Muon(), tensor(4, 4), tensor(4, 4)
    value = gradient.numpy()
    muon.update({"w": weight}, {"w": gradient}, 0.1, 0.0)
    gradient.zero_()
    np.testing.assert_array_equal(muon.momentum["w"].numpy(), value)


def test_adamw_equals_its_definition():
    weight, bias = tensor(5, 3), tensor(3)
    expected = {"weight": weight.numpy().astype(np.float64), "bias": bias.numpy().astype(np.float64)}
    moments = {name: (np.zeros_like(value), np.zeros_like(value)) for name, value in expected.items()}
    adamw = AdamW()
    for t in range(1, 4):
        gradients = {"weight": tensor(5, 3), "bias": tensor(3)}
        adamw.update({"weight": weight, "bias": bias}, gradients, lr=0.01, weight_decay=0.1)
        for name, gradient in gradients.items():
            g = gradient.numpy().astype(np.float64)
            m, v = moments[name]
            m, v = 0.9 * m + 0.1 * g, 0.99 * v + 0.01 * g * g
            moments[name] = m, v
            decay = 0.01 * 0.1 if name == "weight" else 0.0
            step = 0.01 * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.99**t)) + 1e-8)
            expected[name] = expected[name] * (1 - decay) - step
    np.testing.assert_allclose(weight.numpy(), expected["weight"], rtol=2e-5, atol=1e-6)
    np.testing.assert_allclose(bias.numpy(), expected["bias"], rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("kind", [Muon, AdamW])
def test_a_restored_optimizer_goes_on_with_the_same_bits(kind):
    a, b = tensor(4, 6), None
    one, gradients = kind(), [tensor(4, 6) for _ in range(3)]
    one.update({"w": a}, {"w": gradients[0]}, 0.1, 0.0)
    b = a.clone()
    other = kind()
    other.load({name: value.clone() for name, value in one.state().items()})
    for gradient in gradients[1:]:
        one.update({"w": a}, {"w": gradient}, 0.1, 0.0)
        other.update({"w": b}, {"w": gradient}, 0.1, 0.0)
    np.testing.assert_array_equal(a.numpy(), b.numpy())


def test_the_average_starts_fast_and_ends_at_its_decay():
    weight = paddle.zeros([1])
    ema = ExponentialMovingAverage(0.5, {"w": weight})
    weight.fill_(1.0)
    ema.update({"w": weight}, 0)
    assert ema.average["w"].item() == pytest.approx(0.9)
    ema.update({"w": weight}, 1000)
    assert ema.average["w"].item() == pytest.approx(0.95)


def test_learning_rate_warms_up_stays_and_falls_to_zero():
    config = TrainerConfig(steps=100, lr=1.0, warmup_steps=10, schedule="linear", decay_fraction=0.2)
    rates = [learning_rate(config, step) for step in range(101)]
    assert rates[0] == pytest.approx(0.1) and rates[9] == rates[80] == 1.0
    assert rates[90] == pytest.approx(0.5) and rates[100] == 0.0
    cosine = TrainerConfig(steps=100, lr=1.0, warmup_steps=0, schedule="cosine", decay_fraction=1.0)
    assert learning_rate(cosine, 25) == pytest.approx(0.5 + 0.5 * np.cos(np.pi / 4))
    constant = TrainerConfig(steps=100, lr=1.0, warmup_steps=0, schedule="constant")
    assert learning_rate(constant, 99) == 1.0
