"""Pipelines that a user built with ppdiffusers 0.29.0: taken as they are, and given back unchanged."""

import numpy as np
import pytest
from sd3_of_a_user import build, draw_with

import fastdiffusers
from fastdiffusers.errors import PlanError
from fastdiffusers.testing import check_accelerator
from fastdiffusers.testing.snapshot import Snapshot
from fastdiffusers_ppdiffusers.runtime import load_ppdiffusers

CALL = {"prompt": "a red apple", "seed": 1, "num_inference_steps": 10, "height": 32, "width": 32}


@pytest.fixture(scope="module")
def pipe(checkpoints):
    load_ppdiffusers()  # what a CPU lacks for SD3; on a GPU a user needs nothing
    return build(checkpoints["sd3"])


@pytest.mark.parametrize(
    "spec", ["teacache:coefficients=identity:threshold=0.2", "taylorseer:mode=module", "sortblock", "blockdance"]
)
def test_presets_run_and_everything_is_as_before(pipe, spec):
    draw = draw_with(pipe)
    draw(**CALL)
    one = Snapshot(pipe)
    plain = draw(**CALL)
    before = Snapshot(pipe)
    moving = set(one.changes(before))  # what a plain call changes anyway, such as the scheduler's timesteps
    layers = {name: dict(vars(layer)) for name, layer in pipe.transformer.named_sublayers(include_self=True)}
    with fastdiffusers.accelerate(pipe, spec, steps=10) as session:
        latents = draw(**CALL)
        record = session.report()[0]
    assert record.engaged and "interface-tested" not in record.reason
    assert not np.array_equal(latents, plain)
    assert before.changes(Snapshot(pipe, before), moving) == {}
    after = {name: dict(vars(layer)) for name, layer in pipe.transformer.named_sublayers(include_self=True)}
    assert list(after) == list(layers)
    for name, entries in layers.items():
        assert list(after[name]) == list(entries) and all(after[name][key] is entries[key] for key in entries)
    assert np.array_equal(draw(**CALL), plain)


def test_threshold_0_gives_the_same_bits(pipe):
    draw = draw_with(pipe)
    plain = draw(**CALL)
    for spec in ("teacache:coefficients=identity:threshold=0", "fbcache:threshold=0"):
        with fastdiffusers.accelerate(pipe, spec, steps=10):
            assert np.array_equal(draw(**CALL), plain)


@pytest.mark.slow
def test_the_contract_holds(pipe):
    options = {"coefficients": "identity", "threshold": "0.4"}
    report = check_accelerator("teacache", pipe, options, draw=draw_with(pipe))
    assert {"leaves no trace", "failed attach is rolled back", "interruption is forgotten"} <= set(report.checks)


def test_the_session_knows_model_and_steps(pipe):
    with fastdiffusers.accelerate(pipe, "taylorseer", steps=10) as session:
        draw_with(pipe)(**CALL)
        info, context = session.pipe.info, session.pipe.context
    assert (info.family, info.dtype, info.features) == ("sd3", "float32", {"blocks", "cfg", "flow"})
    assert context.steps == 10 and context.grid == (8, 8) and context.generation == 1
    assert session.report()[0].stats["cond"] == {"steps": 10, "skipped": 5, "computed": 5}


def test_the_hash_of_a_held_model_is_that_of_its_weights(pipe):
    def told():
        with fastdiffusers.accelerate(pipe) as session:
            return session.pipe.info.sha256

    weight = pipe.transformer.proj_out.bias
    old, first = weight.numpy(), told()
    assert told() == first
    weight.set_value(old + 1)
    changed = told()
    weight.set_value(old)
    assert changed != first == told()


def test_a_unet_is_recognised_and_refused_its_caches(checkpoints):
    import json

    library = load_ppdiffusers()
    config = json.loads((checkpoints["sd15"] / "unet" / "config.json").read_text())
    vae = json.loads((checkpoints["sd15"] / "vae" / "config.json").read_text())
    theirs = library.StableDiffusionPipeline(
        unet=library.UNet2DConditionModel.from_config(config),
        vae=library.AutoencoderKL.from_config(vae),
        scheduler=library.DDIMScheduler(),
        text_encoder=None,
        tokenizer=None,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    before = Snapshot(theirs)
    with pytest.raises(PlanError, match="seacache is refused: it needs 'blocks', which StableDiffusionPipeline does"):
        fastdiffusers.accelerate(theirs, "seacache")
    assert before.changes(Snapshot(theirs, before)) == {}
