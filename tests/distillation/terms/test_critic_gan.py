"""The discriminator on the critic's features: its losses by hand, its gradients by finite differences."""

import numpy as np
import paddle
import pytest
from gaussian import CRITIC, STUDENT, FakeNetworks, Gaussian, Linear, config, gradient, scene, uniform_grid

from fastdiffusers.distillation.grid import PhaseGrid
from fastdiffusers.distillation.terms.dmd import DistributionMatching

GRID = uniform_grid(12, 3)
N = np.array([0, 2, 5, 8, 9, 11])
DATA = Gaussian(0.3, 0.7)


def case(**changes):
    paddle.seed(3)
    student, critic = Linear(STUDENT, 0.4, -0.2), Linear(CRITIC, 0.1, 0.2)
    seen = []

    def features(x, level, blocks):
        seen.append((x.numpy(), level.numpy(), blocks))
        return [(k + 1.0) * x + paddle.sin(x * x) + 0.0 * critic.a for k in blocks]

    networks = FakeNetworks(teacher=DATA.prediction, student=student, features=features, **{CRITIC: critic})
    settings = {"dmd_on": "clean", "dmd_critic": True, "dmd_gan_weight": 0.5, "dmd_gan_critic_weight": 0.25, **changes}
    term = DistributionMatching(config("dmd", **settings), networks)
    with paddle.no_grad():
        term.gan.head.outer.weight.set_value(term.gan.head.outer.weight * 3.0)
    return networks, student, term, seen


def softplus(value: np.ndarray) -> float:
    return float(np.log1p(np.exp(value.astype(np.float64))).mean())


def test_losses_are_the_non_saturating_ones_at_the_same_noise_and_level():
    networks, _, term, seen = case()
    batch = scene(networks, GRID, N, data=DATA)
    value, metrics = term.opponent_loss(batch)
    (real, level, blocks), (fake, again, _) = seen
    assert blocks == (2,)  # half of the four blocks
    np.testing.assert_array_equal(level, again)
    clean = (batch.x - batch.sigma.reshape([-1, 1, 1]) * batch.prediction).numpy()
    np.testing.assert_allclose(real - fake, (1 - level)[:, None, None] * (batch.clean.numpy() - clean), atol=1e-5)
    told = [term.gan.head(3.0 * x + paddle.sin(x * x)).numpy() for x in map(paddle.to_tensor, (real, fake))]
    expected = softplus(told[1]) + softplus(-told[0])
    assert metrics["d_loss"] == pytest.approx(expected, rel=1e-4)
    assert metrics["d_accuracy"] == pytest.approx(((told[0] > 0).mean() + (told[1] < 0).mean()) / 2, abs=1e-6)
    assert float(value.item()) == pytest.approx(metrics["critic_loss"] + 0.25 * expected, rel=1e-4)

    seen.clear()
    batch = scene(networks, GRID, N, data=DATA)
    value, metrics = term.loss(batch)
    alone = DistributionMatching(config("dmd", dmd_on="clean", dmd_critic=True), networks)
    matching, _ = alone.loss(scene(networks, GRID, N, data=DATA))
    x = paddle.to_tensor(seen[0][0])
    expected = softplus(-term.gan.head(3.0 * x + paddle.sin(x * x)).numpy())
    assert metrics["gan"] == pytest.approx(expected, rel=1e-4)
    assert float(value.item()) == pytest.approx(float(matching.item()) + 0.5 * expected, rel=1e-4)


def test_the_students_gradient_is_that_of_finite_differences():
    networks, student, term, _ = case()
    pull = lambda: term.gan.loss(  # noqa: E731
        batch := scene(networks, GRID, N, data=DATA), *term.made(batch), term.level(batch)
    )
    pull().backward()
    found = gradient(student.parameters)
    for name, parameter in student.parameters.items():
        kept, values = parameter.numpy(), []
        for side in (1, -1):
            parameter.set_value(paddle.to_tensor(kept + np.float32(0.01 * side)))
            values.append(float(pull().item()))
        parameter.set_value(paddle.to_tensor(kept))
        slope = (values[0] - values[1]) / 0.02
        assert found[name.rpartition(".")[2]] == pytest.approx(slope, rel=0.03, abs=3e-4), name
    assert abs(found["b"]) > 1e-3


def test_the_head_learns_with_the_critic_and_the_student_stays():
    networks, student, term, _ = case()
    (group,) = term.groups()
    assert {"critic.gan.inner.weight", "critic.gan.outer.bias", "critic.a"} <= group.parameters.keys()
    assert not group.averaged
    term.opponent_loss(scene(networks, GRID, N, data=DATA))[0].backward()
    assert all(value.grad is not None for value in group.parameters.values())
    assert all(value.grad is None for value in student.parameters.values())


def test_the_heads_gradients_are_those_of_finite_differences():
    networks, _, term, _ = case()
    loss = lambda: term.opponent_loss(scene(networks, GRID, N, data=DATA))[0]  # noqa: E731
    loss().backward()
    for name, parameter in term.gan.head.named_parameters():
        kept = parameter.numpy()
        way = np.random.default_rng(3).standard_normal(parameter.shape).astype(np.float32)
        values = []
        for side in (1, -1):
            parameter.set_value(paddle.to_tensor(kept + np.float32(3e-3 * side) * way))
            values.append(float(loss().item()))
        parameter.set_value(paddle.to_tensor(kept))
        slope = (values[0] - values[1]) / 6e-3
        assert (parameter.grad.numpy() * way).sum() == pytest.approx(slope, rel=0.05, abs=2e-3), name


def test_real_and_fake_have_the_same_noise_where_the_grid_does_not_end_clean():
    """As with timesteps, whose last one is noisy: what the student made is clean all the same."""
    networks, _, term, seen = case()
    grid = uniform_grid(12, 3)
    grid = PhaseGrid(np.append(grid.levels[:-1], np.float32(0.05)), 3)
    batch = scene(networks, grid, N, data=DATA)
    term.opponent_loss(batch)
    (real, level, _), (fake, _, _) = seen
    clean = (batch.x - batch.sigma.reshape([-1, 1, 1]) * batch.prediction).numpy()
    np.testing.assert_allclose(real - fake, (1 - level)[:, None, None] * (batch.clean.numpy() - clean), atol=1e-5)
