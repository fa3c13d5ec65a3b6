"""The flow-matching scheduler against diffusers' (tests/golden/make_scheduler.py)."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fastdiffusers.errors import InputError
from fastdiffusers.schedulers import (
    FlowMatchEulerDiscreteScheduler,
    FlowMatchEulerDiscreteSchedulerConfig,
    flow_sigmas,
    uniform_sigmas,
)

ROOT = Path(__file__).parents[2]
GOLDEN = np.load(ROOT / "tests" / "golden" / "scheduler.npz")
SCHEDULES = [key.split(" ", 1)[1][: -len("|sigmas")] for key in GOLDEN.files if key.endswith("|sigmas")]
TRUNCATIONS = [key.split(" ", 1)[1][: -len("|left")] for key in GOLDEN.files if key.endswith("|left")]
DEV = {"use_dynamic_shifting": True, "shift": 3.0}


def schedule(case):
    scheduler = FlowMatchEulerDiscreteScheduler.from_config(case["config"])
    if "tokens" in case:
        scheduler.set_image_timesteps(case["tokens"], case.get("n"), case.get("sigmas"))
    else:
        scheduler.set_timesteps(case["n"], mu=case["mu"])
    return scheduler


def dev(n=4):
    return schedule({"config": DEV, "n": n, "tokens": 1024})


@pytest.mark.parametrize("key", SCHEDULES)
def test_same_levels_as_diffusers(key):
    scheduler = schedule(json.loads(key))
    assert scheduler.sigmas.dtype == scheduler.timesteps.dtype == np.float32
    assert len(scheduler.sigmas) == len(scheduler.timesteps) + 1 and scheduler.sigmas[-1] == 0
    np.testing.assert_array_equal(scheduler.sigmas, GOLDEN[f"schedule {key}|sigmas"])
    np.testing.assert_array_equal(scheduler.timesteps, GOLDEN[f"schedule {key}|timesteps"])


@pytest.mark.parametrize("key", TRUNCATIONS)
def test_same_truncation_as_diffusers(key):
    case = json.loads(key)
    scheduler = schedule(case)
    whole = scheduler.sigmas
    dropped = scheduler.truncate(case["strength"])
    assert case["n"] - dropped == GOLDEN[f"truncate {key}|left"] == len(scheduler.timesteps)
    assert scheduler.begin_index == dropped
    np.testing.assert_array_equal(scheduler.timesteps, GOLDEN[f"truncate {key}|timesteps"])
    np.testing.assert_array_equal(scheduler.sigmas, whole[dropped:])


def test_truncate_counts_from_the_whole_schedule():
    scheduler = dev(10)
    scheduler.truncate(0.5)
    assert scheduler.truncate(0.8) == 2 and len(scheduler.timesteps) == 8
    scheduler.set_image_timesteps(1024, 4)
    assert scheduler.begin_index == 0 and len(scheduler.timesteps) == 4


def test_flow_sigmas_is_the_formula():
    sigmas = flow_sigmas(uniform_sigmas(4), mu=0.8)
    expected = [np.exp(0.8) / (np.exp(0.8) + 1 / s - 1) for s in (1, 0.75, 0.5, 0.25)]
    np.testing.assert_allclose(sigmas, [*expected, 0], rtol=1e-7)
    np.testing.assert_allclose(flow_sigmas([1, 0.5], shift=3.0), [1, 0.75, 0], rtol=1e-7)
    np.testing.assert_allclose(flow_sigmas([1, 0.5, 0.25], shift_terminal=0.1)[:-1], [1, 0.4, 0.1], rtol=1e-6)


def test_shift_is_on_the_line():
    scheduler = FlowMatchEulerDiscreteScheduler()
    assert scheduler.calculate_shift(256) == pytest.approx(0.5)
    assert scheduler.calculate_shift(4096) == pytest.approx(1.15)


def run(convert):
    scheduler = dev()
    latents, x = [], convert(GOLDEN["run|sample"])
    for i in range(4):
        x = scheduler.step(convert(GOLDEN["run|outputs"][i]), i, x)
        latents.append(np.asarray(x))
    levels = convert(scheduler.sigmas[1:3])
    return latents, np.asarray(
        scheduler.scale_noise(convert(GOLDEN["run|sample"]), levels, convert(GOLDEN["run|noise"]))
    )


@pytest.mark.parametrize("kind", ["numpy", "paddle"])
def test_steps_and_noising_equal_diffusers(kind):
    convert = np.asarray
    if kind == "paddle":
        import paddle

        convert = paddle.to_tensor
    latents, noised = run(convert)
    for i, latent in enumerate(latents):
        assert latent.dtype == np.float32
        np.testing.assert_array_equal(latent, GOLDEN[f"run|after {i}"])
    np.testing.assert_array_equal(noised, GOLDEN["run|noised"])


def test_step_is_float32_and_keeps_the_dtype_of_the_sample():
    scheduler = dev()
    x = np.linspace(-1, 1, 7)
    after = scheduler.step(x, 0, x)
    assert after.dtype == np.float64
    np.testing.assert_array_equal(after, scheduler.step(x.astype(np.float32), 0, x.astype(np.float32)))


def test_following_the_true_velocity_ends_at_the_clean_latent():
    scheduler = dev(28)
    clean, noise = GOLDEN["run|sample"], GOLDEN["run|noise"]
    scheduler.truncate(0.6)
    x = scheduler.scale_noise(clean, scheduler.sigmas[0], noise)
    for i in range(len(scheduler.timesteps)):
        x = scheduler.step(noise - clean, i, x)
    np.testing.assert_allclose(x, clean, atol=1e-6)


def test_config_round_trip_keeps_unknown_keys():
    values = {
        "_class_name": "FlowMatchEulerDiscreteScheduler",
        "_diffusers_version": "0.30.0.dev0",
        "base_image_seq_len": 256,
        "base_shift": 0.5,
        "max_image_seq_len": 4096,
        "max_shift": 1.15,
        "num_train_timesteps": 1000,
        "shift": 3.0,
        "use_dynamic_shifting": True,
        "of_a_later_version": 7,
    }
    scheduler = FlowMatchEulerDiscreteScheduler.from_config(values)
    saved = scheduler.config.to_dict()
    assert {key: saved[key] for key in values if key != "_diffusers_version"} == {
        key: value for key, value in values.items() if key != "_diffusers_version"
    }
    assert FlowMatchEulerDiscreteScheduler.from_config(saved).config == scheduler.config


@pytest.mark.parametrize(
    "values",
    [
        {"use_karras_sigmas": True},
        {"use_exponential_sigmas": True},
        {"use_beta_sigmas": True},
        {"invert_sigmas": True},
        {"stochastic_sampling": True},
        {"time_shift_type": "cubic"},
        {"num_train_timesteps": 0},
        {"shift": -3.0},
        {"shift_terminal": 1.0},
        {"_class_name": "DDIMScheduler"},
    ],
)
def test_what_is_not_supported_is_refused_with_its_value(values):
    with pytest.raises(InputError) as error:
        FlowMatchEulerDiscreteScheduler.from_config(values)
    (value,) = values.values()
    assert str(value) in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "one is needed"),
        ({"num_inference_steps": 0}, "num_inference_steps is 0"),
        ({"num_inference_steps": 2.5}, "2.5"),
        ({"num_inference_steps": True}, "True"),
        ({"num_inference_steps": 3, "sigmas": [1.0, 0.5]}, "2 sigmas"),
        ({"sigmas": []}, r"shape \[0\]"),
        ({"sigmas": [[1.0, 0.5]]}, r"shape \[1, 2\]"),
        ({"sigmas": [0.5, 1.0]}, "0.5 is followed by 1"),
        ({"sigmas": [0.5, 0.5]}, "must fall"),
        ({"sigmas": [1.0, 0.0]}, "sigma 0 is not valid"),
        ({"sigmas": [1.5, 0.5]}, "sigma 1.5 is not valid"),
        ({"sigmas": [1.0, float("nan")]}, "sigma nan"),
        ({"sigmas": ["a"]}, "not a list of numbers"),
        ({"num_inference_steps": 4, "mu": None}, "mu is needed"),
        ({"num_inference_steps": 4, "mu": float("nan")}, "mu is nan"),
        ({"num_inference_steps": 4, "mu": 800.0}, "800"),
        ({"num_inference_steps": 4, "mu": 60.0}, "do not fall"),
    ],
)
def test_bad_input(arguments, message):
    scheduler = FlowMatchEulerDiscreteScheduler.from_config(DEV)
    with pytest.raises(InputError, match=message) as error:
        scheduler.set_timesteps(**{"mu": 0.7, **arguments})
    assert "\n" not in str(error.value)
    assert len(scheduler.timesteps) == 0


@pytest.mark.parametrize("strength", [0, -0.1, 1.01, float("nan"), "half", True, 1e-30])
def test_bad_strength(strength):
    with pytest.raises(InputError, match="strength") as error:
        dev(28).truncate(strength)
    assert str(strength) in str(error.value)


def test_bad_calls():
    with pytest.raises(InputError, match="before set_timesteps"):
        FlowMatchEulerDiscreteScheduler().truncate(0.5)
    with pytest.raises(InputError, match="step 4 does not exist"):
        dev(4).step(np.zeros(2), 4, np.zeros(2))
    with pytest.raises(InputError, match=r"sigma is 1\.5"):
        dev(4).scale_noise(np.zeros(2), 1.5, np.zeros(2))
    with pytest.raises(InputError, match="image_seq_len"):
        dev(4).set_image_timesteps(0, 4)
    with pytest.raises(InputError, match="two different points"):
        FlowMatchEulerDiscreteScheduler(FlowMatchEulerDiscreteSchedulerConfig(max_shift=None)).calculate_shift(64)
    terminal = FlowMatchEulerDiscreteScheduler(FlowMatchEulerDiscreteSchedulerConfig(shift_terminal=0.1))
    with pytest.raises(InputError, match="last sigma below 1"):
        terminal.set_timesteps(1)


def test_does_not_import_paddle():
    code = "import sys, fastdiffusers.schedulers; sys.exit('paddle' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=ROOT).returncode == 0
