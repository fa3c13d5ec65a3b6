"""TeaCache: its decisions on hand-made sequences, its arithmetic, its plan and its effect on a real pipeline."""

import json
import math
import os
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import paddle
import pytest

from fastdiffusers.caching.loop import CacheLoop, Log
from fastdiffusers.context import StepContext
from fastdiffusers.errors import InputError, PlanError, PluginError
from fastdiffusers.models.info import describe
from fastdiffusers.pipelines.flux import FluxPipeline
from fastdiffusers.pipelines.flux_stack import FLUX_STACK
from fastdiffusers.recorder import Recorder
from fastdiffusers.session import accelerate
from fastdiffusers_caching.options import TeaCacheConfig
from fastdiffusers_caching.polynomial import FLUX_DEV, IDENTITY, Polynomial, choose, fit, store, stored
from fastdiffusers_caching.predict import predict_teacache, simulate
from fastdiffusers_caching.teacache import TeaCache, design, relative_change

GOLDEN = Path(__file__).parents[1] / "golden" / "flux_pipeline"
SIZE = {"height": 24, "width": 32}


def drive(changes, threshold, polynomial=IDENTITY):
    """Run a loop whose probe changes by the given relative amounts; returns which steps were computed."""
    context = StepContext()
    recorder = Recorder(SimpleNamespace(), context)
    log = Log()
    calls = []

    def inner(model, image, text, temb, rope):
        calls.append(context.step)
        return image + float(context.step + 1)

    loop = CacheLoop(inner, FLUX_STACK, recorder, design(threshold, polynomial), log)
    model = SimpleNamespace(transformer_blocks=[SimpleNamespace(norm1=lambda image, temb: (temb,))])
    context.begin(np.linspace(1, 0, len(changes) + 1, endpoint=False))
    level, outputs = 1.0, []
    for step in range(len(changes) + 1):
        context.at(step)
        level *= 1 + (changes[step - 1] if step else 0)
        out = loop(model, paddle.zeros([1, 2, 3]), None, paddle.full([1, 2, 3], level), None)
        outputs.append(out.mean().item())
    context.end()
    assert calls == [i for i, (_, computed) in enumerate(log.steps) if computed]
    return [computed for _, computed in log.steps], outputs


def test_it_computes_when_the_accumulated_change_reaches_the_threshold():
    # hand-computed: acc = .1, .2, .3 >= .25 compute; .1, .2, .3 compute; .1, then the last step
    computed, outputs = drive([0.1] * 8, 0.25)
    assert computed == [True, False, False, True, False, False, True, False, True]
    # a skipped step reuses the residual of the last computed one (the fake stack adds step + 1)
    assert outputs == [1, 1, 1, 4, 4, 4, 7, 7, 9]


def test_the_change_counts_also_after_a_skipped_step():
    computed, _ = drive([0.05, 0.3, 0.05, 0.05, 0.05], 0.3)
    assert computed == [True, False, True, False, False, True]


def test_first_and_last_step_are_always_computed():
    computed, _ = drive([0.0] * 5, 10.0)
    assert computed == [True, False, False, False, False, True]


def test_threshold_zero_computes_every_step_even_where_the_polynomial_is_negative():
    computed, _ = drive([0.1] * 4, 0.0, Polynomial((-1.0,), "negative"))
    assert computed == [True] * 5


def test_a_change_that_is_no_number_computes_the_step():
    computed, _ = drive([0.1] * 4, 0.5, Polynomial((float("nan"),), "broken"))
    assert computed == [True] * 5


def test_relative_change_is_the_ratio_of_means():
    a, b = paddle.to_tensor([1.0, -3.0]), paddle.to_tensor([2.0, -2.0])
    assert relative_change(a, b) == pytest.approx(2 / 4)


def test_published_polynomial_has_its_known_least_value():
    p = Polynomial(FLUX_DEV, "published")
    assert p(0.0) == pytest.approx(0.264230861)
    assert p.least() == pytest.approx(0.1803, abs=1e-4)


def test_fit_recovers_a_polynomial_and_is_bounded_by_what_it_saw():
    truth = [3.0, -2.0, 0.5, 0.1, 0.02]
    x = np.linspace(0.01, 0.4, 60)
    p = fit(list(x), list(np.polyval(truth, x)), [1.0, 0.5], [0.0, 0.1], "test")
    np.testing.assert_allclose(p.coefficients, truth, rtol=1e-6)
    assert p.r2 == pytest.approx(1.0)
    assert p(5.0) == p(0.4) and p(0.0) == p(0.01)


def test_fit_refuses_too_little():
    with pytest.raises(InputError, match="too few"):
        fit([0.1] * 5, [0.1] * 5, [1.0], [0.0], "test")
    with pytest.raises(InputError, match="does not change"):
        fit([0.0] * 20, [0.0] * 20, [1.0], [0.0], "test")


def test_simulation_follows_the_mean_changes():
    p = replace(IDENTITY, sigmas=(1.0, 0.75, 0.5, 0.25), changes=(0.0, 0.1, 0.1, 0.1))
    assert simulate(p, 0.2, np.array([1.0, 0.75, 0.5, 0.25])) == [True, False, True, True]


@pytest.fixture
def model(tmp_path):
    """A writable copy of the tiny FLUX.1-dev-like checkpoint."""
    shutil.copytree(GOLDEN / "dev", tmp_path / "tiny")
    return tmp_path / "tiny"


PROMPTS = ["a red apple", "a cat", "dog", "grinning face"]


@pytest.fixture
def calibrated(model, monkeypatch, tmp_path):
    monkeypatch.setenv("FASTDIFFUSERS_HOME", str(tmp_path / "home"))
    pipe = FluxPipeline.from_pretrained(describe(model))
    loop = pipe.transformer.block_loop
    result = TeaCache(TeaCacheConfig()).calibrate(pipe, PROMPTS, lambda done, total: None)
    assert pipe.transformer.block_loop is loop
    assert result["pairs"] == 4 * 27
    path = store(result["polynomial"], pipe.info)
    assert path == model / "calibration" / "teacache.json"
    return pipe


def test_another_models_coefficients_are_refused_unless_asked_for(model, monkeypatch, tmp_path):
    monkeypatch.setenv("FASTDIFFUSERS_HOME", str(tmp_path / "home"))
    info = describe(model)
    with pytest.raises(PlanError, match=r"no coefficients for tiny: run `fastdiff calibrate .*/tiny` once"):
        choose("auto", info)
    assert choose("flux.1-dev", info).coefficients == FLUX_DEV
    dev = replace(
        info,
        transformer={
            "num_layers": 19,
            "num_single_layers": 38,
            "num_attention_heads": 24,
            "attention_head_dim": 128,
            "guidance_embeds": True,
        },
    )
    assert choose("auto", dev).coefficients == FLUX_DEV


def test_a_calibration_of_other_weights_is_refused(calibrated, model):
    file = model / "calibration" / "teacache.json"
    content = json.loads(file.read_text())
    file.write_text(json.dumps({**content, "model_sha256": "0" * 64}))
    with pytest.raises(PlanError, match="made for other weights"):
        stored(calibrated.info)
    file.write_text(json.dumps({**content, "coefficients": [float("nan")] * 5}))
    with pytest.raises(PlanError, match="holds NaN"):
        stored(calibrated.info)
    file.write_text("{")
    with pytest.raises(PlanError, match="cannot be read"):
        stored(calibrated.info)


def test_a_valid_calibration_in_the_users_cache_is_found_behind_a_stale_one(calibrated, model):
    polynomial = stored(calibrated.info)
    file = model / "calibration" / "teacache.json"
    content = json.loads(file.read_text())
    file.unlink()
    (model / "calibration").rmdir()
    (model / "calibration").write_text("in the way, as a folder that cannot be written")
    assert store(polynomial, calibrated.info).is_relative_to(os.environ["FASTDIFFUSERS_HOME"])
    (model / "calibration").unlink()
    (model / "calibration").mkdir()
    file.write_text(json.dumps({**content, "model_sha256": "0" * 64}))
    assert stored(calibrated.info) == polynomial


def test_calibration_on_an_accelerated_pipeline_is_refused(calibrated):
    with accelerate(calibrated, "teacache:threshold=1e9") as session, pytest.raises(PluginError, match="detach"):
        session.accelerator("teacache").calibrate(calibrated, PROMPTS, lambda done, total: None)


def test_predictions_name_what_will_not_engage(calibrated):
    info = calibrated.info
    setting = info.default_setting
    assert not predict_teacache(TeaCacheConfig(threshold=0.0), info, setting).engages
    published = predict_teacache(TeaCacheConfig(threshold=0.15, coefficients="flux.1-dev"), info, setting)
    assert not published.engages and "0.18" in published.reason
    bounded = predict_teacache(TeaCacheConfig(threshold=0.4, coefficients="flux.1-dev"), info, setting)
    assert bounded.engages and bounded.effect == "skips at most 2 steps in a row"
    with pytest.raises(PlanError, match="at 4 steps"):
        predict_teacache(TeaCacheConfig(), info, replace(setting, steps=4))
    with pytest.raises(PlanError, match="at 6 steps"):
        predict_teacache(TeaCacheConfig(), info, replace(setting, steps=28, strength=0.2))
    assert predict_teacache(TeaCacheConfig(force=True), info, replace(setting, steps=4))


def test_the_prediction_is_what_then_happens(calibrated):
    threshold = 3 * float(np.mean(stored(calibrated.info).changes[1:]))
    with accelerate(calibrated, f"teacache:threshold={threshold}:coefficients=auto", height=24, width=32) as session:
        expected = session.report()[0].effect
        calibrated("a red apple", seed=1, output_type="latent", **SIZE)
        record = session.report()[0]
    assert record.engaged and record.requested
    foretold = int(expected.partition("about ")[2].split()[0])
    assert abs(record.stats["cond"]["skipped"] - foretold) <= 3, (expected, record.effect)


def test_off_zero_and_on(calibrated):
    plain = calibrated("a red apple", seed=1, output_type="latent", **SIZE).images
    with accelerate(calibrated, "teacache:threshold=0") as session:
        zero = calibrated("a red apple", seed=1, output_type="latent", **SIZE).images
        assert not session.report()[0].engaged
    with accelerate(calibrated, "teacache:threshold=1e9") as session:
        most = calibrated("a red apple", seed=1, output_type="latent", **SIZE).images
        record = session.report()[0]
    np.testing.assert_array_equal(plain, zero)
    assert record.effect == "skipped 26 of 28 steps"
    assert np.abs(most - plain).max() > 1e-3
    np.testing.assert_array_equal(calibrated("a red apple", seed=1, output_type="latent", **SIZE).images, plain)


def test_each_branch_of_true_guidance_has_its_own_residual(calibrated):
    arguments = {"negative_prompt": "dog", "true_cfg_scale": 2.0, "seed": 1, "output_type": "latent", **SIZE}
    with accelerate(calibrated, "teacache:threshold=1e9") as session:
        calibrated("a red apple", **arguments)
        stats = session.report()[0].stats
    assert stats["cond"] == stats["uncond"] == {"steps": 28, "skipped": 26, "computed": 2}


def test_least_value_of_an_unbounded_polynomial_is_sought_up_to_one():
    assert Polynomial((1.0, 0.0), "x").least() == 0.0
    assert math.isinf(IDENTITY.high)


@pytest.mark.parametrize("options", [{"threshold": 1e9}, {"threshold": 0.6}])
def test_it_keeps_the_accelerators_contract(options):
    from fastdiffusers.testing import check_accelerator

    report = check_accelerator("teacache", options={"coefficients": "identity", **options})
    assert report.record.engaged


def test_the_command_calibrates_and_refuses(model, tmp_path, monkeypatch, capsys):
    from fastdiffusers_cli.app import app

    monkeypatch.setenv("FASTDIFFUSERS_HOME", str(tmp_path / "home"))
    (tmp_path / "prompts.txt").write_text("\n".join(PROMPTS))
    (tmp_path / "few.txt").write_text("a cat\n\n")

    def run(*words):
        with pytest.raises(SystemExit) as ended:
            app(["calibrate", *map(str, words)])
        return ended.value.code, capsys.readouterr()

    code, printed = run("teacache", "--model", model, "--prompts", tmp_path / "prompts.txt")
    assert code == 0 and "fitted on 4 prompts of 28 steps; R²" in printed.out
    assert stored(describe(model)) is not None
    for words, message in (
        (("teacach",), "unknown calibration 'teacach'; valid: teacache"),
        (("teacache", "--model", model), "tiny brings no prompts of its own; give --prompts FILE"),
        (("teacache", "--model", model, "--prompts", tmp_path / "none.txt"), "cannot be read as UTF-8 text"),
        (
            ("teacache", "--model", model, "--prompts", tmp_path / "few.txt"),
            "has 1 prompt; at least 4 are needed",
        ),
    ):
        code, printed = run(*words)
        assert code == 2 and message in printed.err and printed.err.count("\n") == 1
