"""The cache engine on SD3's transformer, which it knows as data only."""

import numpy as np
import pytest

import fastdiffusers
from fastdiffusers.errors import PlanError
from fastdiffusers.testing import check_accelerator

CALL = {"prompt": "a red apple", "seed": 1, "num_inference_steps": 12, "height": 32, "width": 32}
# each with options at which it engages on weights of formulas
ENGAGED = [
    "teacache:coefficients=identity:threshold=0.3",
    "teablockcache:coefficients=identity:threshold=0.3",
    "seacache:threshold=0.5",
    "fbcache:threshold=0.9",
    "firstblock-taylor:threshold=0.9",
    "dbcache:first=1:last=1:threshold=0.9",
    "taylorseer:mode=lite",
    "taylorseer:mode=module",
    "blockdance",
    "sortblock",
    "static:mask=0/1/4/8/11",
    "cache:scope=blocks:indicator=interval:estimator=newton",
    "cache:scope=module:indicator=interval:estimator=taylor:modules=mlp",
    "cache:scope=cut:indicator=interval:estimator=residual",
]
NEVER = [
    "teacache:coefficients=identity:threshold=0",
    "seacache:threshold=0",
    "fbcache:threshold=0",
    "firstblock-taylor:threshold=0",
    "dbcache:first=1:last=1:threshold=0",
    "taylorseer:interval=1",
    "taylorseer:mode=module:interval=1",
    "sortblock:period=1",
    "cache:scope=blocks:indicator=interval:interval=1",
]


@pytest.fixture(scope="module")
def plain(pipelines):
    return pipelines("sd3")(**CALL, output_type="latent").latents


def drawn(pipe, spec):
    with fastdiffusers.accelerate(pipe, spec, steps=CALL["num_inference_steps"]) as session:
        latents = pipe(**CALL, output_type="latent").latents
        return latents, session.report()[0]


@pytest.mark.parametrize("spec", ENGAGED)
def test_a_preset_engages_and_leaves_the_output_as_it_was(pipelines, plain, spec):
    pipe = pipelines("sd3")
    latents, record = drawn(pipe, spec)
    assert record.engaged, record.effect
    assert np.isfinite(latents).all() and not np.array_equal(latents, plain)
    assert np.array_equal(pipe(**CALL, output_type="latent").latents, plain)


@pytest.mark.parametrize("spec", NEVER)
def test_a_preset_that_never_skips_gives_the_same_bits(pipelines, plain, spec):
    latents, record = drawn(pipelines("sd3"), spec)
    assert np.array_equal(latents, plain) and not record.engaged


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options"),
    [("teacache", {"coefficients": "identity", "threshold": "0.3"}), ("taylorseer", {"mode": "module"})],
)
def test_the_contract_holds_on_sd3(pipelines, name, options):
    report = check_accelerator(name, pipelines("sd3"), options, steps=8)
    assert "leaves no trace" in report.checks and "interruption is forgotten" in report.checks


def test_one_evaluation_a_step_and_one_branch(pipelines):
    _, record = drawn(pipelines("sd3"), "taylorseer")
    assert set(record.stats) >= {"cond", "pattern", "bytes"} and "uncond" not in record.stats
    assert record.stats["pattern"] == "xxx..x..x..x"


@pytest.mark.parametrize("family", ["sd15", "sdxl"])
def test_a_unet_has_no_blocks_to_cache(pipelines, family):
    with pytest.raises(PlanError, match=rf"teacache is refused: it needs 'blocks', which {family} does not offer"):
        fastdiffusers.accelerate(pipelines(family), "teacache:coefficients=identity")


def test_teacache_asks_for_coefficients_of_its_own(pipelines):
    with pytest.raises(PlanError, match="teacache has no coefficients for sd3"):
        fastdiffusers.accelerate(pipelines("sd3"), "teacache")
