"""The first implementation's arithmetic, as it is written there, and how far it is from the terms' own."""

import numpy as np
import paddle
import pytest
from gaussian import STUDENT, FakeNetworks, Gaussian, Linear, config, gradient, scene, uniform_grid

from fastdiffusers.distillation.process import FlowMatching, LinearRenoising, flow_process
from fastdiffusers.distillation.terms import REFERENCE, TERMS, term_class
from fastdiffusers.distillation.terms.consistency import phase_target
from fastdiffusers.distillation.terms.reference import (
    ReferenceAdversarial,
    ReferenceDistributionMatching,
    ReferenceReflow,
    grid_index,
)
from fastdiffusers.errors import InputError

GRID = uniform_grid(12, 3)
N = np.array([0, 2, 5, 8, 9, 11])
LINEAR = LinearRenoising()
REAL = Gaussian(0.3, 0.7, LINEAR)


def wide(values) -> np.ndarray:
    return np.asarray(values, np.float64)[:, None, None]


def setting(**changes):
    return config("consistency", "adversarial", "dmd", "reflow", compat="reference", **changes)


def drawn(batch, rng) -> tuple[np.ndarray, np.ndarray]:
    """Indices, and the noise that is drawn next."""
    index = N // 4 * 4 + rng.integers(1, 5, len(N))
    return index, rng.standard_normal(batch.clean.shape, dtype=np.float32)


def states(batch, a=0.4, b=-0.2) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """x, the end of the phase, and the linear student's landing there."""
    levels = GRID.levels.astype(np.float64)
    now, end = levels[N], levels[(N // 4 + 1) * 4]
    x = (1 - wide(now)) * batch.clean.numpy() + wide(now) * batch.noise.numpy()
    return x, end, x + wide(end - now) * (a * x + b)


def linear(x: np.ndarray, end: np.ndarray, level: np.ndarray, z: np.ndarray) -> np.ndarray:
    return (wide(1 - level) * x + wide(level - end) * z) / wide(1 - end)


@pytest.mark.parametrize(("low", "high"), [(0.0, 0.5), (0.3, 0.6), (0.5128, 0.7595), (0.7595, 0.9045)])
def test_its_renoising_leaves_the_noise_too_low(low, high):
    """Of a state with noise `low`: the deviations would add if the noises were one, but they are independent."""
    a, b = (paddle.to_tensor([np.float32(value)]) for value in (low, high))
    one, zero = paddle.ones([1, 1]), paddle.zeros([1, 1])
    variance = {}
    for process in (FlowMatching(), LINEAR):
        kept, added = (float(process.renoise(x, a, b, z).item()) for x, z in ((one, zero), (zero, one)))
        assert kept == pytest.approx((1 - high) / (1 - low), rel=1e-5)  # the clean share is right in both
        variance[type(process)] = (kept * low) ** 2 + added**2
    assert variance[FlowMatching] == pytest.approx(high**2, rel=1e-5)
    short = 2 * (1 - high) * (high - low) * low / (1 - low) ** 2  # what the square of the sum has beside the squares
    assert high**2 - variance[LinearRenoising] == pytest.approx(short, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize(
    ("low", "high", "level"), [(0.3, 0.6, 0.46), (0.5128, 0.7595, 0.566), (0.7595, 0.9045, 0.674), (0.0, 0.5, 0.5)]
)
def test_how_much_too_low_in_numbers(low, high, level):
    """The deviation of the noise where the network is told `high`; samples, known within 1 %. Only from the clean
    latent is it right."""
    rng = np.random.default_rng(0)
    z, more = (paddle.to_tensor(rng.standard_normal((1, 100_000)).astype(np.float32)) for _ in range(2))
    a, b = (paddle.to_tensor([np.float32(value)]) for value in (low, high))
    found = float(LINEAR.renoise(a * z, a, b, more).std().item())
    assert found == pytest.approx(level, rel=0.01)


def test_compat_chooses_process_and_terms():
    assert type(flow_process("none")) is FlowMatching and type(flow_process("reference")) is LinearRenoising
    classes = {
        "adversarial": ReferenceAdversarial,
        "dmd": ReferenceDistributionMatching,
        "reflow": ReferenceReflow,
    }
    assert classes.keys() == REFERENCE.keys()
    for name in TERMS:
        usual, other = term_class(name), term_class(name, "reference")
        assert issubclass(other, usual) and (other is usual) == (name not in classes)
        assert other is classes.get(name, usual)


@pytest.mark.parametrize("change", [{"dmd_critic": True}, {"dmd_on": "clean"}])
def test_what_it_never_had_is_refused(change):
    with pytest.raises(InputError, match=r"^compat=reference has no critic and matches within phases"):
        setting(**change)


def test_levels_are_those_of_the_grid_from_the_end_to_one_below_the_start():
    batch = scene(FakeNetworks(), GRID, np.repeat(np.arange(12), 40))
    index = grid_index(batch)
    for n, found in zip(batch.n, index, strict=True):
        assert n // 4 * 4 < found <= n // 4 * 4 + 4
    assert set(index[:160]) == {1, 2, 3, 4}


def test_its_distribution_matching_as_it_is_written():
    """(v_real − v_fake)/(mean|x_s − v_real| + 1e-5), squared without ½."""
    student = Linear(STUDENT, 0.4, -0.2)
    networks = FakeNetworks(teacher=REAL.prediction, student=student)
    batch = scene(networks, GRID, N, data=REAL)
    value, _ = ReferenceDistributionMatching(setting(), networks).loss(batch)
    value.backward()
    _, end, landing = states(batch)
    index, z = drawn(batch, np.random.default_rng(1))
    level = GRID.levels[index].astype(np.float64)
    noisy = linear(landing, end, level, z)
    share = 1 - wide(level)
    centred = (noisy - share * REAL.m) / (share**2 * REAL.s**2 + wide(level) ** 2)
    real = wide(level) * centred - (REAL.m + share * REAL.s**2 * centred)
    expected = (real - (0.4 * noisy - 0.2)) / (np.abs(landing - real).mean(axis=(1, 2), keepdims=True) + 1e-5)
    assert float(value.item()) == pytest.approx((expected**2).mean(), rel=1e-3)
    slope = 2 * expected * wide(end - GRID.levels[N])
    assert gradient(student.parameters)["b"] == pytest.approx(slope.mean(), rel=2e-3)


def test_its_gradient_is_the_papers_without_t_over_another_mean():
    """Same place, same noise: theirs times t·mean|x_s − v|/mean|x̂₀ − μ| is ours, and at level 0 ours is nothing."""
    student = Linear(STUDENT, 0.4, -0.2)
    networks = FakeNetworks(teacher=REAL.prediction, student=student)
    term = term_class("dmd")(setting(), networks)
    other = ReferenceDistributionMatching(setting(), networks)
    index = N // 4 * 4 + np.array([1, 2, 3, 4, 3, 4])
    found = {}
    for one in (term, other):
        one.level = lambda batch: batch.level(index)
        batch = scene(networks, GRID, N, data=REAL)
        found[one] = one.gradient(batch, batch.landing.detach(), batch.end)[0].numpy()
    for row, level in enumerate(GRID.levels[index]):
        ratio = found[term][row] / found[other][row]
        if level == 0:
            assert not np.abs(ratio).max() > 1e-6 and np.abs(found[other][row]).max() > 0.1
        else:
            np.testing.assert_allclose(ratio, ratio.mean(), rtol=2e-3)
            assert 0.05 < ratio.mean() < 5


def test_its_reflow_starts_one_step_above_the_noise():
    student = Linear(STUDENT, 0.4, -0.2, 0.1)
    networks = FakeNetworks(student=student)
    batch = scene(networks, GRID, N, data=REAL)
    value, _ = ReferenceReflow(setting(), networks).loss(batch)
    value.backward()
    x, end, _ = states(batch)
    landing = x + wide(end - GRID.levels[N]) * (0.4 * x - 0.2 + 0.1 * wide(GRID.levels[N]))
    index, z = drawn(batch, np.random.default_rng(1))
    level, begin = (GRID.levels[i].astype(np.float64) for i in (index, index - 1))
    noisy = linear(landing, end, level, z)
    error = noisy + wide(end - begin) * (0.4 * noisy - 0.2 + 0.1 * wide(level)) - landing
    assert float(value.item()) == pytest.approx((error**2).mean(), rel=1e-3)


def test_its_reflow_punishes_a_straight_student():
    """One that comes down to K from everywhere: our term is zero, theirs overshoots by a solver's step out of two."""

    def straight(x, level, told):
        ends = GRID.levels[4::4]
        end = paddle.to_tensor(np.array([max(e for e in ends if e < value) for value in level.numpy()], np.float32))
        return (x - 0.25) / (level - end).reshape([-1, 1, 1])

    networks, index = FakeNetworks(student=straight), N // 4 * 4 + 2
    usual, term = (term_class("reflow", compat)(setting(), networks) for compat in ("none", "reference"))
    usual.levels = lambda batch: (batch.level(index), batch.level(index))
    term.levels = lambda batch: (batch.level(index), batch.level(index - 1))
    assert float(usual.loss(scene(networks, GRID, N, data=REAL))[0].item()) < 1e-10
    batch = scene(networks, GRID, N, data=REAL)
    found = float(term.loss(batch)[0].item())
    end, level = (GRID.levels[i].astype(np.float64) for i in ((N // 4 + 1) * 4, index))
    z = np.random.default_rng(1).standard_normal(batch.clean.shape, dtype=np.float32)
    away = linear(np.full(z.shape, 0.25), end, level, z) - 0.25
    assert found == pytest.approx(((away / 2) ** 2).mean(), rel=1e-3)


def test_its_real_is_the_consistency_target_and_the_noises_are_two():
    seen = []

    def features(x, level, blocks):
        seen.append((x.numpy().astype(np.float64), level.numpy()))
        return [x for _ in blocks]

    student = Linear(STUDENT, 0.4, -0.2)
    networks = FakeNetworks(teacher=REAL.prediction, student=student, features=features)
    batch = scene(networks, GRID, N, data=REAL)
    value, metrics = ReferenceAdversarial(setting(adversarial_depths=(0.5,)), networks).opponent_loss(batch)
    value.backward()
    assert all(part.grad is None for part in student.parameters.values()) and "d_accuracy" in metrics
    (real, level), (fake, again) = seen
    np.testing.assert_array_equal(level, again)
    rng = np.random.default_rng(1)
    index, z = drawn(batch, rng)
    np.testing.assert_array_equal(level, GRID.levels[index])
    other = rng.standard_normal(batch.clean.shape, dtype=np.float32)
    _, end, landing = states(batch)
    at = GRID.levels[index].astype(np.float64)
    np.testing.assert_allclose(real, linear(phase_target(batch).numpy(), end, at, z), atol=1e-5)
    np.testing.assert_allclose(fake, linear(landing, end, at, other), atol=1e-5)


def test_the_students_adversarial_turn_uses_its_levels_and_noise():
    student = Linear(STUDENT, 0.4, -0.2)
    networks = FakeNetworks(teacher=REAL.prediction, student=student)
    batch = scene(networks, GRID, N, data=REAL)
    value, _ = ReferenceAdversarial(setting(), networks).loss(batch)
    value.backward()
    index, _ = drawn(batch, np.random.default_rng(1))
    np.testing.assert_array_equal(networks.asked[-1][2], GRID.levels[index])
    assert student.b.grad is not None
