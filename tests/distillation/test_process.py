"""Noise processes against their definitions: closed forms, samples, and an independent DDIM step."""

import numpy as np
import paddle
import pytest
from gaussian import Gaussian

from fastdiffusers.distillation.process import FlowMatching, Process, VariancePreserving, scaled_linear, wide

FLOW = FlowMatching()
VP = VariancePreserving(scaled_linear())
RNG = np.random.default_rng(0)
PAIRS = {
    "flow": (FLOW, [(0.0, 0.4), (0.3, 0.5), (0.6, 0.61), (0.2, 1.0)]),
    "vp": (VP, [(-1, 300), (19, 259), (500, 999)]),
}
CASES = [pytest.param(process, a, b, id=f"{name} {a} to {b}") for name, (process, ab) in PAIRS.items() for a, b in ab]


def tensor(*shape: int) -> paddle.Tensor:
    return paddle.to_tensor(RNG.standard_normal(shape).astype(np.float32))


def level(*values: float) -> paddle.Tensor:
    return paddle.to_tensor(np.array(values, np.float32))


def shares(process: Process, value: float) -> tuple[float, float]:
    """α and β in float64, from the definitions of the two processes."""
    if process is FLOW:
        return 1 - value, value
    bar = np.prod(1 - scaled_linear()[: int(value) + 1])
    return float(np.sqrt(bar)), float(np.sqrt(1 - bar))


@pytest.mark.parametrize(("process", "low", "high"), CASES)
def test_alpha_and_beta_are_those_of_the_definition(process, low, high):
    for value in (low, high):
        found = [float(f(level(value)).item()) for f in (process.alpha, process.beta)]
        np.testing.assert_allclose(found, shares(process, value), rtol=2e-4, atol=1e-6)


@pytest.mark.parametrize(("process", "low", "high"), CASES)
def test_renoising_is_exact_by_closed_form(process, low, high):
    """x_a = α(a)·x₀ + β(a)·ε goes to α(b)·x₀ + noise of variance β(b)²: both read off from unit inputs."""
    (a, b), (c, d) = shares(process, low), shares(process, high)
    one, zero = paddle.ones([1, 1]), paddle.zeros([1, 1])
    kept, added = (float(process.renoise(x, level(low), level(high), z).item()) for x, z in ((one, zero), (zero, one)))
    assert kept * a == pytest.approx(c, rel=1e-3, abs=1e-6)  # the mean at b
    assert (kept * b) ** 2 + added**2 == pytest.approx(d**2, rel=1e-3)  # and its variance


def test_the_variance_of_samples_is_that_of_the_level():
    """Data of deviation 0.5 at 0.25, re-noised to 0.6: (0.4·0.5)² + 0.6²; 200,000 samples know it within 1 %."""
    clean = 0.5 * tensor(1, 200_000)
    x = FLOW.add_noise(clean, tensor(1, 200_000), level(0.25))
    y = FLOW.renoise(x, level(0.25), level(0.6), tensor(1, 200_000))
    assert float(y.var().item()) == pytest.approx((0.4 * 0.5) ** 2 + 0.6**2, rel=0.01)
    residue = y - 0.4 * clean
    assert float(residue.var().item()) == pytest.approx(0.36, rel=0.01)
    assert abs(float((residue * clean).mean().item())) < 0.004  # the noise knows nothing of the picture


@pytest.mark.parametrize("process", [FLOW, VP], ids=["flow", "vp"])
def test_renoising_to_the_same_level_changes_nothing(process):
    x, same = tensor(2, 3), level(0.3, 0.7) if process is FLOW else level(10, 700)
    np.testing.assert_allclose(process.renoise(x, same, same, tensor(2, 3)).numpy(), x.numpy(), atol=2e-3)


@pytest.mark.parametrize(("process", "low", "high"), CASES)
def test_a_step_along_the_true_prediction_keeps_clean_latent_and_noise(process, low, high):
    clean, noise = tensor(2, 3, 4), tensor(2, 3, 4)
    start, end = level(high, high), level(low, low)
    x = process.add_noise(clean, noise, start)
    prediction = noise - clean if process is FLOW else noise
    # at pure noise of a flow, and near it of VP, x₀ is known only by the prediction: float32 leaves 1e-4
    np.testing.assert_allclose(process.clean_from(x, prediction, start).numpy(), clean.numpy(), atol=2e-4)
    np.testing.assert_allclose(process.noise_from(x, prediction, start).numpy(), noise.numpy(), atol=2e-4)
    there = process.step(x, prediction, start, end)
    np.testing.assert_allclose(there.numpy(), process.add_noise(clean, noise, end).numpy(), atol=2e-4)


@pytest.mark.parametrize(("process", "low", "high"), CASES)
def test_prediction_between_is_the_inverse_of_step(process, low, high):
    x, prediction, start, end = tensor(2, 5), tensor(2, 5), level(high, high), level(low, low)
    there = process.step(x, prediction, start, end)
    back = process.prediction_between(x, start, there, end)
    np.testing.assert_allclose(back.numpy(), prediction.numpy(), rtol=1e-3, atol=1e-3)


def test_the_flows_own_step_is_the_general_one():
    x, prediction, start, end = tensor(3, 2), tensor(3, 2), level(0.9, 0.5, 0.2), level(0.6, 0.5, 0.0)
    general = Process.step(FLOW, x, prediction, start, end)
    np.testing.assert_allclose(FLOW.step(x, prediction, start, end).numpy(), general.numpy(), atol=1e-6)


def test_vp_steps_are_ddim_steps():
    """Song et al. 2021, eq. 12 with σ = 0, in float64 and as that equation is written."""
    x, eps = tensor(4, 6), tensor(4, 6)
    times, ends = [999, 700, 259, 19], [959, 400, -1, -1]
    found = VP.step(x, eps, level(*times), level(*ends)).numpy()
    bar = np.concatenate([np.cumprod(1 - np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2), [1.0]])  # [-1]: clean
    x64, eps64 = x.numpy().astype(np.float64), eps.numpy().astype(np.float64)
    for row, (t, s) in enumerate(zip(times, ends, strict=True)):
        clean = (x64[row] - np.sqrt(1 - bar[t]) * eps64[row]) / np.sqrt(bar[t])
        expected = np.sqrt(bar[s]) * clean + np.sqrt(1 - bar[s]) * eps64[row]
        np.testing.assert_allclose(found[row], expected, rtol=5e-4, atol=5e-4)


def test_stable_diffusions_betas():
    betas = scaled_linear()
    assert len(betas) == 1000 and betas[0] == pytest.approx(0.00085) and betas[-1] == pytest.approx(0.012)
    assert np.sqrt(betas)[500] - np.sqrt(betas)[499] == pytest.approx(np.sqrt(betas)[1] - np.sqrt(betas)[0])
    assert float(VP.alpha(level(999)).item()) ** 2 == pytest.approx(0.00466, rel=1e-2)  # its known last ᾱ


def test_wide_puts_the_level_in_front():
    assert wide(level(1, 2), tensor(2, 3, 4)).shape == [2, 1, 1]
    assert wide(level(1, 2), tensor(2, 3)).shape == [2, 1]


@pytest.mark.parametrize(("process", "a", "b"), CASES)
def test_score_targets_teach_the_ideal_prediction_of_samples_that_are_noisy_themselves(process, a, b):
    """The straight line through t over w·x_b and w, of many draws, is the Gaussian's own prediction."""
    data = Gaussian(0.3, 0.7, process)
    rng = np.random.default_rng(0)
    clean, old, fresh = (paddle.to_tensor(rng.standard_normal((1, 400_000)).astype(np.float32)) for _ in range(3))
    x = process.add_noise(data.m + data.s * clean, old, level(a))
    noisy = process.renoise(x, level(a), level(b), fresh).numpy()[0].astype(np.float64)
    weight, target = process.score_target(x, level(a), level(b), fresh)
    w, t = weight.item(), target.numpy()[0].astype(np.float64)
    slope, constant = np.polyfit(w * noisy, t, 1)
    ends = data.prediction(paddle.to_tensor([[0.0, 1.0]]), level(b)).numpy()[0].astype(np.float64)
    error = np.std(t - slope * w * noisy) / np.sqrt(noisy.size)
    assert slope == pytest.approx(ends[1] - ends[0], abs=5 * error / np.std(w * noisy))
    assert constant / w == pytest.approx(ends[0], abs=8 * error / w)


@pytest.mark.parametrize("process", [FlowMatching(), VP], ids=["flow", "vp"])
def test_the_clean_level_has_no_noise(process):
    """The last of Stable Diffusion's timesteps has: β is 0.029 there."""
    level = paddle.full([3], process.clean_level)
    assert process.alpha(level).numpy().tolist() == [1.0] * 3 and process.beta(level).numpy().tolist() == [0.0] * 3
    x, noise, higher = paddle.ones([3, 2]), paddle.full([3, 2], 2.0), paddle.to_tensor([0.0, 0.5, 1.0])
    higher = higher if process is not VP else higher * 900
    found, expected = process.renoise(x, level, higher, noise), process.add_noise(x, noise, higher)
    np.testing.assert_allclose(found.numpy(), expected.numpy(), atol=1e-6)
