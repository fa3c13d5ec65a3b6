"""What is measured on a model and kept beside it: magnitudes and searched masks, through Python and the command."""

import json
import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from fastdiffusers.errors import InputError, PlanError, PluginError
from fastdiffusers.models.info import describe
from fastdiffusers.pipelines.flux import FluxPipeline
from fastdiffusers.session import accelerate
from fastdiffusers_caching.magcache import MagCache, MagCacheConfig
from fastdiffusers_caching.magnitude import keep_magnitudes, kept_magnitudes
from fastdiffusers_caching.mask_search import improve, search, spread
from fastdiffusers_caching.masks import keep_schedule, kept_schedule, read_schedule

GOLDEN = Path(__file__).parents[1] / "golden" / "flux_pipeline"
PROMPTS = ["a red apple", "a cat", "dog", "grinning face"]


@pytest.fixture
def model(tmp_path, monkeypatch):
    """A writable copy of the tiny FLUX.1-dev-like checkpoint."""
    monkeypatch.setenv("FASTDIFFUSERS_HOME", str(tmp_path / "home"))
    shutil.copytree(GOLDEN / "dev", tmp_path / "tiny")
    return tmp_path / "tiny"


def test_magnitudes_are_the_mean_ratio_of_the_residuals_norms(model):
    pipe = FluxPipeline.from_pretrained(describe(model))
    loop = pipe.transformer.block_loop
    norms = []

    class Spy:
        def __call__(self, model, image, *rest):
            out = loop(model, image, *rest)
            norms.append(np.linalg.norm((out - image).numpy(), axis=-1))
            return out

    pipe.transformer.block_loop = Spy()
    pipe("a cat", seed=0, num_inference_steps=28, height=24, width=32, output_type="latent")
    wanted = [1.0, *((b / a).mean() for a, b in pairwise(norms))]
    pipe.transformer.block_loop = loop
    real = FluxPipeline.__call__
    pipe_class = type("Small", (FluxPipeline,), {"__call__": lambda s, p, **k: real(s, p, height=24, width=32, **k)})
    pipe.__class__ = pipe_class
    found = MagCache(MagCacheConfig()).calibrate(pipe, ["a cat"], lambda done, total: None)["magnitudes"]
    pipe.__class__ = FluxPipeline
    np.testing.assert_allclose(found.ratios, wanted, rtol=1e-5)
    assert pipe.transformer.block_loop is loop and len(found.sigmas) == 28 and found.sigmas[0] > found.sigmas[-1]

    with pytest.raises(
        PlanError, match=r"no magnitudes for tiny: run `fastdiff calibrate magcache --model .*tiny` once"
    ):
        kept_magnitudes(pipe.info)
    assert keep_magnitudes(found, pipe.info) == model / "calibration" / "magcache.json"
    assert kept_magnitudes(pipe.info) == found
    with accelerate(pipe, "magcache:threshold=1e9"), pytest.raises(PluginError, match="detach"):
        MagCache(MagCacheConfig()).calibrate(pipe, PROMPTS, lambda done, total: None)
    file = model / "calibration" / "magcache.json"
    content = json.loads(file.read_text())
    for change, message in (
        ({"ratios": [1.0]}, "cannot be read"),
        ({"ratios": [-1.0] * 28}, "cannot be read"),
        ({"model_sha256": "0" * 64}, "made for other weights .* run `fastdiff calibrate magcache` again"),
    ):
        file.write_text(json.dumps({**content, **change}))
        with pytest.raises(PlanError, match=message):
            kept_magnitudes(pipe.info)


def test_the_search_begins_with_regular_masks_and_ends_where_no_move_helps():
    assert spread(4, 12) == (0, 2, 6, 10) and spread(1, 9) == (0,) and len(spread(12, 28)) == 12
    assert spread(6, 12, front=3) == (0, 1, 2, 4, 7, 10)
    # hand-made: the error is the distance to a hidden mask
    hidden, tried = (0, 1, 2, 8), []

    def error(mask):
        tried.append(mask)
        return float(sum(abs(a - b) for a, b in zip(mask, hidden, strict=True)))

    assert improve((0, 3, 6, 9), 12, error) == (hidden, 0.0)
    assert all(mask[0] == 0 and list(mask) == sorted(set(mask)) and mask[-1] < 12 for mask in tried)
    # one round by one step each
    assert improve((0, 3, 6, 9), 12, error, reach=1, rounds=1) == ((0, 2, 5, 8), 4.0)


def test_a_searched_mask_is_better_than_an_even_one_and_is_found_again(model):
    pipe = FluxPipeline.from_pretrained(describe(model))
    tried = []
    schedule, error = search(pipe, PROMPTS[:1], 3, 8, tried.append, rounds=1)
    assert len(schedule.computed) == 3 and schedule.steps == 8 and tried == list(range(1, len(tried) + 1))

    def distance(words):
        plain = pipe(PROMPTS[0], seed=0, num_inference_steps=8, output_type="latent").latents
        with accelerate(pipe, words, steps=8):
            latents = pipe(PROMPTS[0], seed=0, num_inference_steps=8, output_type="latent").latents
        return np.abs(latents - plain).mean() / np.abs(plain).mean()

    keep_schedule(schedule, error, pipe.info)
    assert distance("static:budget=3:steps=8") == pytest.approx(error, rel=1e-4)
    assert error <= distance("static:mask=0/3/5") * 1.0001
    keep_schedule(read_schedule("11110000"), 0.5, pipe.info)
    assert kept_schedule(pipe.info, 3, 8).computed == schedule.computed
    assert kept_schedule(pipe.info, 4, 8).bits == "11110000"
    with pytest.raises(PlanError, match=r"no mask of 5 computed steps out of 8 .* --budget 5 --steps 8` once"):
        kept_schedule(pipe.info, 5, 8)
    # a mask is for the forecast that it was searched with
    keep_schedule(read_schedule("10110000"), 0.5, pipe.info, 1)
    keep_schedule(read_schedule("10101000"), 0.5, pipe.info, 1, 0.5)
    assert [kept_schedule(pipe.info, 3, 8, *forecast).bits for forecast in ((), (1,), (1, 0.5))] == [
        schedule.bits,
        "10110000",
        "10101000",
    ]
    assert accelerate(pipe, "static:budget=3:steps=8:order=1", steps=8).plan
    pipe.context.session.detach()
    with pytest.raises(PlanError, match=r"with order=2 damping=0.5: run .* --steps 8 --order 2 --damping 0.5` once"):
        kept_schedule(pipe.info, 3, 8, 2, 0.5)
    for budget in (0, 8):
        with pytest.raises(InputError, match="must be from 1 to 7"):
            search(pipe, PROMPTS, budget, 8, tried.append)


def test_a_mask_is_searched_for_the_forecast_it_is_used_with(model):
    pipe = FluxPipeline.from_pretrained(describe(model))
    found = search(pipe, PROMPTS[:2], 4, 8, lambda tried: None, order=1, damping=0.8)
    assert found == search(pipe, PROMPTS[:2], 4, 8, lambda tried: None, order=1, damping=0.8)

    def distance(words):
        draw = lambda: pipe(PROMPTS[:2], seed=0, num_inference_steps=8, output_type="latent").latents  # noqa: E731
        plain = draw()
        with accelerate(pipe, f"static:order=1:damping=0.8:{words}", steps=8):
            latents = draw()
        return np.mean([np.abs(a - b).mean() / np.abs(b).mean() for a, b in zip(latents, plain, strict=True)])

    assert distance("mask=" + found[0].bits) == pytest.approx(found[1], rel=1e-4)
    assert all(found[1] <= distance(f"mask={mask}") * 1.0001 for mask in ("0/1/3/6", "0/1/2/5", "0/2/4/6"))


def test_the_command_calibrates_each_and_refuses(model, tmp_path, capsys):
    from fastdiffusers_cli.app import app

    (tmp_path / "prompts.txt").write_text("\n".join(PROMPTS))

    def run(*words):
        with pytest.raises(SystemExit) as ended:
            app(["calibrate", *map(str, words)])
        return ended.value.code, capsys.readouterr()

    here = ("--model", model, "--prompts", tmp_path / "prompts.txt")
    code, printed = run("magcache", *here)
    assert code == 0 and "measured on 4 prompts of 28 steps; ratios from" in printed.out
    assert kept_magnitudes(describe(model))
    code, printed = run("static", *here, "--budget", 2, "--steps", 4)
    assert code == 0 and "relative L1 error of the latents" in printed.out
    assert "`--accel static:budget=2:steps=4` uses it" in printed.out
    for words, message in (
        (("static",), "static needs --budget"),
        (("magcache", "--budget", 3), "--order and --damping are for static masks; magcache takes none"),
        (("static", *here, "--budget", 4, "--steps", 4), "budget 4 is not valid for 4 steps"),
        (("static", *here, "--budget", 2, "--order", 5), "order"),
        (("static", *here, "--budget", 2, "--damping", 0.5), "damping 0.5 means nothing with order=0"),
    ):
        code, printed = run(*words)
        assert code == 2 and message in printed.err and printed.err.count("\n") == 1
