"""The forms that a CPU runs faster compute what the plain ones do, forward and backward."""

import numpy as np
import paddle
import paddle.nn.functional as F
import pytest
from paddle import nn

from fastdiffusers.models import embeddings, flux_blocks, normalization
from fastdiffusers.models.embeddings import apply_rope, rope_table
from fastdiffusers.models.flux_blocks import attend
from fastdiffusers.models.normalization import RMSNorm, gated, modulate
from fastdiffusers.models.place import Linear, on_cpu, widened


def random(*shape):
    paddle.seed(len(shape) + shape[0])
    found = paddle.randn(shape)
    found.stop_gradient = False
    return found


def answer_and_gradients(function, *inputs):
    out = function(*inputs)
    weights = paddle.to_tensor(np.random.default_rng(0).standard_normal(out.shape).astype(np.float32))
    return [out.numpy(), *(g.numpy() for g in paddle.grad((out * weights).sum(), list(inputs)))]


def elsewhere(monkeypatch, function, *inputs):
    """As on a GPU, whose forms run on a CPU too."""
    with monkeypatch.context() as patched:
        for module in (embeddings, flux_blocks, normalization):
            for name in ("on_cpu", "for_paddle_on_cpu"):
                patched.setattr(module, name, lambda: False, raising=False)
            if hasattr(module, "widened"):
                patched.setattr(module, "widened", lambda small, x: small)
        return answer_and_gradients(function, *inputs)


def rope(batch, heads):
    cos, sin = rope_table(np.arange(10, dtype=np.float32).reshape(5, 2), (4, 8))
    shape = [batch, -1, heads, -1]
    return tuple(paddle.to_tensor(part[None, :, None, :]).expand(shape) for part in (cos, sin))


def norm(x):
    layer = RMSNorm(12)
    layer.weight.set_value(np.linspace(0.5, 2, 12, dtype=np.float32))
    return layer(x)


CASES = {
    "modulate": (modulate, [(3, 5, 8), (3, 8), (3, 8)]),
    "gated": (gated, [(3, 5, 8), (3, 8), (3, 5, 8)]),
    "norm": (norm, [(3, 5, 2, 12)]),
    "rope": (lambda x: apply_rope(x, rope(1, 1)), [(3, 5, 2, 12)]),
    "rope of many heads": (lambda x: apply_rope(x, rope(1, 2)), [(3, 5, 2, 12)]),
    "attention": (attend, [(3, 5, 2, 12)] * 3),
}


@pytest.mark.parametrize("name", CASES)
def test_forms_agree_and_so_do_their_gradients(name, monkeypatch):
    function, shapes = CASES[name]
    inputs = [random(*shape) for shape in shapes]
    found = answer_and_gradients(function, *inputs)
    for ours, plain in zip(found, elsewhere(monkeypatch, function, *inputs), strict=True):
        np.testing.assert_allclose(ours, plain, atol=1e-5)
        assert np.abs(plain).max() > 0.1


def test_norm_weight_has_its_gradient(monkeypatch):
    weight = []

    def with_weight(x):
        layer = RMSNorm(12)
        weight.append(layer.weight)
        return layer(x)

    x = random(3, 5, 2, 12)
    grads = []
    for cpu in (True, False):
        monkeypatch.setattr(normalization, "for_paddle_on_cpu", lambda cpu=cpu: cpu)
        with_weight(x).square().sum().backward()
        grads.append(weight[-1].grad.numpy())
    np.testing.assert_allclose(*grads, rtol=1e-5)
    assert np.abs(grads[0]).min() > 1


def test_a_turn_has_the_bits_of_strided_reads(monkeypatch):
    x, table = random(2, 5, 3, 12), rope(1, 3)
    ours = apply_rope(x, table).numpy()
    monkeypatch.setattr(embeddings, "on_cpu", lambda: False)
    assert ours.tobytes() == apply_rope(x, table).numpy().tobytes()


@pytest.mark.parametrize("bias", [True, False])
def test_linear_is_the_product_and_the_bias(bias):
    layer = Linear(6, 4, bias_attr=None if bias else False)
    if bias:
        layer.bias.set_value(np.arange(4, dtype=np.float32))
    x = random(2, 3, 6)
    found = answer_and_gradients(layer, x)
    plain = answer_and_gradients(lambda x: F.linear(x, layer.weight, layer.bias), x)
    for ours, other in zip(found, plain, strict=True):
        np.testing.assert_allclose(ours, other, atol=1e-6)
    assert isinstance(layer, nn.Linear) and list(layer(x[:, :2]).shape) == [2, 2, 4]  # strided memory as well


def test_a_frozen_linear_layer_passes_gradients_on():
    layer, x = Linear(6, 4), random(2, 3, 6)
    layer.weight.stop_gradient = layer.bias.stop_gradient = True
    _, gradient = answer_and_gradients(layer, x)
    assert np.abs(gradient).min() > 0


def test_only_what_broadcasts_is_written_out():
    x = random(2, 3, 4)
    assert on_cpu() and widened(x, x) is x
    assert list(widened(random(2, 1, 4), x).shape) == [2, 3, 4]
