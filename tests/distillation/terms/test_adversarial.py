"""The discriminator's hinge loss by hand, and every gradient against finite differences."""

import numpy as np
import paddle
import pytest
from gaussian import STUDENT, FakeNetworks, Gaussian, Linear, config, gradient, scene, uniform_grid

from fastdiffusers.distillation.terms.adversarial import HEADS, Adversarial

GRID = uniform_grid(12, 3)
N = np.array([0, 2, 5, 8, 9, 11])
DATA = Gaussian()


def wide(values) -> np.ndarray:
    return np.asarray(values, np.float64)[:, None, None]


def case(channels: int = 3, **changes):
    paddle.seed(1)
    student = Linear(STUDENT, 0.4, -0.2, 0.1)
    networks = FakeNetworks(channels, teacher=DATA.prediction, student=student)
    term = Adversarial(config("adversarial", adversarial_depths=(0.5, 0.99), **changes), networks)
    rng = np.random.default_rng(0)
    for value in term.heads.parameters():
        value.set_value(paddle.to_tensor((value.numpy() + 0.5 * rng.standard_normal(value.shape)).astype(np.float32)))
    return networks, student, term


def logits(term, x: np.ndarray) -> list[np.ndarray]:
    """The heads in float64: layer norm, linear, SiLU, linear, on the fake features."""
    found = []
    for k, head in enumerate(term.heads):
        scale, shift, w1, b1, w2, b2 = (p.numpy().astype(np.float64) for p in head.parameters())
        f = (k + 1.0) * x + np.sin(x * x)
        f = (f - f.mean(-1, keepdims=True)) / np.sqrt(f.var(-1, keepdims=True) + 1e-5) * scale + shift
        h = f @ w1 + b1
        found.append((h / (1 + np.exp(-h)) @ w2 + b2)[..., 0])
    return found


def by_hand(batch) -> tuple[np.ndarray, np.ndarray]:
    """Real and fake, re-noised with the same noise to the same level."""
    levels = GRID.levels.astype(np.float64)
    now, end, start = levels[N], levels[(N // 4 + 1) * 4], levels[N // 4 * 4]
    clean, noise = batch.clean.numpy().astype(np.float64), batch.noise.numpy().astype(np.float64)
    x = (1 - wide(now)) * clean + wide(now) * noise
    landing = x + wide(end - now) * (0.4 * x - 0.2 + 0.1 * wide(now))
    data = (1 - wide(end)) * clean + wide(end) * noise
    rng = np.random.default_rng(1)
    level = end + rng.uniform(0.02, 1.0, len(N)) * (start - end)
    z = rng.standard_normal(x.shape, dtype=np.float32)
    share = wide((1 - level) / (1 - end))
    added = np.sqrt(wide(level) ** 2 - (share * wide(end)) ** 2) * z
    return share * data + added, share * landing + added


def test_the_discriminators_loss_is_the_hinge_of_every_token():
    networks, student, term = case()
    batch = scene(networks, GRID, N, data=DATA)
    value, metrics = term.opponent_loss(batch)
    real, fake = (logits(term, x) for x in by_hand(batch))
    expected = np.mean(
        [np.maximum(0, 1 - r).mean() + np.maximum(0, 1 + f).mean() for r, f in zip(real, fake, strict=True)]
    )
    assert float(value.item()) == pytest.approx(expected, rel=1e-4)
    right = np.mean([*(r > 0 for r in real), *(f < 0 for f in fake)])
    assert metrics == {"d_loss": pytest.approx(expected, rel=1e-4), "d_accuracy": pytest.approx(right, abs=1e-6)}
    assert all(part.shape == (len(N), 5) for part in real)  # one logit a token
    value.backward()
    assert all(p.grad is not None for p in term.heads.parameters())
    assert all(p.grad is None for p in student.parameters.values())


def test_the_students_loss_is_what_the_heads_say_of_its_landings():
    networks, _, term = case()
    batch = scene(networks, GRID, N, data=DATA)
    value, metrics = term.loss(batch)
    _, fake = by_hand(batch)
    assert float(value.item()) == pytest.approx(-np.mean([f.mean() for f in logits(term, fake)]), rel=1e-3, abs=1e-5)
    assert metrics == {}


def test_the_students_gradient_is_that_of_finite_differences():
    networks, student, term = case()
    value, _ = term.loss(scene(networks, GRID, N, data=DATA))
    value.backward()
    found = gradient(student.parameters)
    for name, parameter in student.parameters.items():
        kept, values = parameter.numpy(), []
        for side in (1, -1):
            parameter.set_value(paddle.to_tensor(kept + np.float32(0.01 * side)))
            values.append(float(term.loss(scene(networks, GRID, N, data=DATA))[0].item()))
        parameter.set_value(paddle.to_tensor(kept))
        slope = (values[0] - values[1]) / 0.02
        assert found[name.rpartition(".")[2]] == pytest.approx(slope, rel=0.03, abs=3e-4), name
        assert abs(slope) > 5e-3


def test_the_heads_gradients_are_those_of_finite_differences():
    networks, _, term = case()
    value, _ = term.opponent_loss(scene(networks, GRID, N, data=DATA))
    value.backward()
    grads = {name: p.grad.numpy() for name, p in term.heads.named_parameters()}
    for name, parameter in term.heads.named_parameters():
        kept, direction = (
            parameter.numpy(),
            np.random.default_rng(3).standard_normal(parameter.shape).astype(np.float32),
        )
        values = []
        for side in (1, -1):
            parameter.set_value(paddle.to_tensor(kept + np.float32(3e-3 * side) * direction))
            values.append(float(term.opponent_loss(scene(networks, GRID, N, data=DATA))[0].item()))
        parameter.set_value(paddle.to_tensor(kept))
        assert (grads[name] * direction).sum() == pytest.approx((values[0] - values[1]) / 6e-3, rel=0.05, abs=4e-3), (
            name
        )


def test_real_and_fake_have_the_same_noise_and_level():
    seen = []

    def features(x, level, blocks):
        seen.append((x.numpy().astype(np.float64), level.numpy()))
        return [x for _ in blocks]

    networks, _, _ = case()
    networks._features = features
    term = Adversarial(config("adversarial", adversarial_depths=(0.5,)), networks)
    batch = scene(networks, GRID, N, data=DATA)
    term.opponent_loss(batch)
    (real, level), (fake, again) = seen
    np.testing.assert_array_equal(level, again)
    data = batch.process.add_noise(batch.clean, batch.noise, batch.end)
    share = wide((1 - level) / (1 - batch.end.numpy()))
    np.testing.assert_allclose(real - fake, share * (data - batch.landing).numpy(), atol=1e-5)


def test_levels_stay_within_the_phase():
    networks, _, term = case()
    batch = scene(networks, GRID, np.repeat(np.arange(12), 50), data=DATA)
    term.opponent_loss(batch)
    level = networks.asked[-1][2]
    assert (level > batch.end.numpy()).all() and (level <= batch.start.numpy()).all()
    assert level[:200].max() > 0.98 and level[:200].min() < 0.70  # and fill it


def test_heads_are_a_group_of_their_own():
    _, _, term = case(lr=1e-4, adversarial_lr=1e-5, adversarial_beta1=0.1)
    (group,) = term.groups()
    assert group.name == HEADS and not group.averaged
    assert group.lr_scale == pytest.approx(0.1) and group.beta1 == 0.1
    assert len(group.parameters) == 2 * 6 and all(name.startswith("heads.") for name in group.parameters)
    assert term.blocks == (2, 4)  # half and all of four blocks
    twice = Adversarial(config("adversarial", adversarial_depths=(0.01, 0.2, 0.25)), FakeNetworks(teacher=None))
    assert twice.blocks == (1,)
