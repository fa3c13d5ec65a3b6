"""Our caches beside diffusers' and cache-dit's on the same weights: the same steps and blocks run, the same latents.

The goldens were computed by the peers themselves (see `make_peers`). Where a peer's rule is another one, the options
that make ours equal are used here, or the difference is shown to be exactly the one that is told.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import fastdiffusers
from fastdiffusers.caching.design import Design, Rules, simulate
from fastdiffusers.caching.estimators import OUTPUT, Taylor
from fastdiffusers.caching.preset import sigmas_of
from fastdiffusers.caching.scopes import Stack
from fastdiffusers.metrics import rel_l1
from fastdiffusers.session import accelerate
from fastdiffusers_caching.magcache import MagCache, MagCacheConfig
from fastdiffusers_caching.magnitude import MagnitudeDrift, Magnitudes, kept_magnitudes
from fastdiffusers_caching.spectral import filter_matrix

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "peers.npz")
STEPS, BLOCKS, TOLERANCE = 28, 12, 2e-4
PROMPTS = (("a red apple", 1), ("a cat face on a blue background", 2))


def every(interval):
    """diffusers' TaylorSeer: steps 0, 1 and 2, then 4 and every N-th after it (published: 2 + N and so on)."""
    return "/".join(str(step) for step in range(STEPS) if step < 3 or (step >= 4 and (step - 4) % interval == 0))


ATTENTION = "cache:scope=module:modules=attention:final=0"
SAME = {
    "none": None,
    "fbc-0.1": "fbcache:threshold=0.1",
    "fbc-0.25": "fbcache:threshold=0.25",
    "taylor-attention-2": f"{ATTENTION}:estimator=taylor:indicator=interval:interval=2:warmup=3",
    "taylor-attention-4-order-2": f"{ATTENTION}:estimator=taylor:order=2:indicator=static:mask={every(4)}",
    "taylor-modules-2": "taylorseer:interval=2:mode=module",
    "taylor-modules-3": f"cache:scope=module:estimator=taylor:final=0:indicator=static:mask={every(3)}",
    "taylor-last-2": "taylorseer:interval=2",
    "taylor-last-3-order-2": f"cache:estimator=taylor:of=output:order=2:final=0:indicator=static:mask={every(3)}",
    "mag-0.24": "magcache:threshold=0.24:max_consecutive=5:start=0.1",
    "mag-0.06": "magcache:threshold=0.06:max_consecutive=3:start=0.2",
    "mag-long": "magcache:threshold=9:max_consecutive=2:start=0.1",
    # multiples of 4 while 0.1 < σ < 0.8, all steps outside
    "pab-4": f"{ATTENTION}:estimator=output:indicator=static:mask=0/1/2/3/4/5/6/7/8/12/16/20/24/27",
    "db-f1b0": "dbcache:threshold=0.12:first=1:warmup=4:max_consecutive=4",
    "db-f2b1": "dbcache:threshold=0.2:first=2:last=1:warmup=3",
    "db-f8b0": "dbcache:threshold=0.15",
    "db-f6b3-few": "dbcache:threshold=0.3:first=6:last=3:warmup=2:max_consecutive=2:max_skips=9",
    "db-mask": "cache:scope=fnbn:estimator=residual:final=0:indicator=static:mask=0/1/2/3/6/9/13/17/22/27",
    "db-taylor-1": "dbcache:threshold=0.2:first=1:warmup=4:max_consecutive=4:order=1",
    "db-taylor-2": "dbcache:threshold=0.2:first=2:last=1:warmup=5:max_consecutive=3:order=2",
}
TOGETHER = {
    "cfg": {"prompt": "a rocket", "seed": 3, "negative_prompt": "", "true_cfg_scale": 2.0},
    "batch": {"prompt": [prompt for prompt, _ in PROMPTS], "seed": 1},
}


@pytest.fixture(scope="module")
def pipe():
    return fastdiffusers.load("flux-emoji")


def draw(pipe, words, index):
    """Our latents, and the pattern of the record."""
    prompt, seed = PROMPTS[index]
    with accelerate(pipe, words) as session:
        latents = pipe(prompt, seed=seed, num_inference_steps=STEPS, output_type="latent").latents
        report = session.report()
    return latents, report[0].stats if report else {"pattern": "x" * STEPS, "cond": {"computed": STEPS}}


def check(pipe, name, index):
    latents, stats = draw(pipe, SAME[name], index)
    blocks, attentions = (GOLDEN[f"{name}.{index}.{what}"] for what in ("blocks", "attentions"))
    assert [mark == "x" for mark in stats["pattern"]] == list((blocks == BLOCKS) & (attentions == BLOCKS))
    if "module" not in str(SAME[name]):  # there every block is run, in part
        assert stats["cond"]["computed"] * BLOCKS == pytest.approx(blocks.sum(), abs=0.01)
    np.testing.assert_allclose(latents, GOLDEN[f"{name}.{index}.latents"], atol=TOLERANCE)


@pytest.mark.parametrize("name", list(SAME))
def test_same_steps_and_latents_as_the_peer(pipe, name):
    check(pipe, name, 0)


@pytest.mark.slow
@pytest.mark.parametrize("name", list(SAME))
def test_and_for_another_prompt(pipe, name):
    check(pipe, name, 1)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["fbc-0.25", "mag-0.24", "taylor-modules-2"])
@pytest.mark.parametrize("kind", list(TOGETHER))
def test_the_same_with_two_guidance_branches_and_for_two_prompts_at_once(pipe, kind, name):
    with accelerate(pipe, SAME[name]) as session:
        latents = pipe(num_inference_steps=STEPS, output_type="latent", **TOGETHER[kind]).latents
        stats = session.report()[0].stats
    branches = ["cond", "uncond"][: 1 + (kind == "cfg")]
    evaluations = GOLDEN[f"{name}.{kind}.attentions"].reshape(STEPS, len(branches))
    assert [mark == "x" for mark in stats["pattern"]] == list(evaluations[:, 0] == BLOCKS)
    skipped = (evaluations < BLOCKS).sum(axis=0)
    assert [stats[branch]["skipped"] for branch in branches] == list(skipped)
    np.testing.assert_allclose(latents, GOLDEN[f"{name}.{kind}.latents"], atol=TOLERANCE)


def test_lite_forecasts_the_velocity_not_the_last_block(pipe, monkeypatch):
    """diffusers' lite mode extrapolates what leaves proj_out; ours the last block, so that norm_out knows the step."""
    golden = GOLDEN["taylor-lite-2.0.latents"]
    assert 0.01 < rel_l1(GOLDEN["taylor-last-2.0.latents"], golden) < 0.03
    computed, taylor = {int(step) for step in every(2).split("/")}, Taylor(OUTPUT, 1)
    layer = pipe.transformer.proj_out
    forward = layer.forward

    def forecast(image):
        step = pipe.context.step
        if step not in computed:
            return taylor.forecast(step)[0]
        out = forward(image)
        taylor.learn(step, (out,))
        return out

    monkeypatch.setattr(layer, "forward", forecast)
    latents, _ = draw(pipe, None, 0)
    np.testing.assert_allclose(latents, golden, atol=TOLERANCE)


def test_cache_dit_begins_to_forecast_at_the_fourth_step(pipe, monkeypatch):
    """Its differences exist from step 3 on, however many steps were computed before; ours from the second computed."""

    class Late(Taylor):
        def learn(self, node, value):
            super().learn(node, value)
            if node < 3:
                del self.terms[1:]

    words = "dbcache:threshold=0.3:first=1:warmup=2:order=1"
    golden, blocks = (GOLDEN[f"db-taylor-early.0.{what}"] for what in ("latents", "blocks"))
    own, _ = draw(pipe, words, 0)
    assert rel_l1(own, golden) > 0.01
    monkeypatch.setattr("fastdiffusers_caching.dbcache.Taylor", Late)
    latents, stats = draw(pipe, words, 0)
    assert [mark == "x" for mark in stats["pattern"]] == list(blocks == BLOCKS)
    np.testing.assert_allclose(latents, golden, atol=TOLERANCE)


def test_the_same_magnitudes_are_calibrated(pipe):
    found = MagCache(MagCacheConfig()).calibrate(pipe, [PROMPTS[0][0]], lambda done, total: None)["magnitudes"]
    np.testing.assert_allclose(found.ratios, GOLDEN["magnitudes"], rtol=1e-5)


def test_ratios_for_another_number_of_steps_follow_sigma_and_not_the_index(pipe):
    """diffusers stretches 28 ratios over 50 steps as they are, so that magnitudes seem to fall by 0.27 and not 0.49."""
    theirs = list(GOLDEN["mag-0.24.50.blocks"] == BLOCKS)
    sigmas = tuple(sigmas_of(pipe.info, replace(pipe.info.default_setting, steps=50)))
    known = kept_magnitudes(pipe.info)
    stretched = Magnitudes(sigmas, tuple(known.ratios[round(i * 27 / 49)] for i in range(50)), "as diffusers does")

    def steps(magnitudes):
        rules = Rules(start=0.1, max_consecutive=5)
        return simulate(Design(Stack(), lambda: MagnitudeDrift(0.24, magnitudes), rules=rules), sigmas)

    assert steps(stretched) == theirs and sum(steps(known)) < sum(theirs)


@pytest.mark.parametrize("sigma", [1.0, 0.7, 0.2])
def test_the_same_spectral_filter(sigma):
    picture, golden = GOLDEN["filter.input"].astype(np.float64), GOLDEN[f"filter.{sigma}"]
    down, across = (filter_matrix(size, sigma) for size in picture.shape[:2])
    np.testing.assert_allclose(np.einsum("ab,bxc,xy->ayc", down, picture, across), golden, atol=1e-5)
