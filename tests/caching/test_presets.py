"""Every preset: the blocks it runs over 50 steps, its contract on a real pipeline, its refusals and predictions."""

import re
from dataclasses import replace
from types import SimpleNamespace

import pytest
from counting_stack import drive, flux_sigmas, model_of
from preset_options import ENGAGED, OFF

from fastdiffusers.errors import PlanError
from fastdiffusers.options import build_config
from fastdiffusers.patching import patch
from fastdiffusers.plan import make_plan, parse
from fastdiffusers.plugins import registry
from fastdiffusers.session import accelerate
from fastdiffusers.testing import check_accelerator
from fastdiffusers_caching.magnitude import Magnitudes
from fastdiffusers_caching.spectral import gain

STEPS, BLOCKS = 50, 57
SIGMAS = flux_sigmas(STEPS)
STILL = Magnitudes((1.0, 0.5, 0.01), (1.0, 1.0, 1.0), "made up")
PRESETS = sorted(name for name, spec in registry().accelerators.items() if "cache" in spec.tags)


def designs(words):
    (request,) = parse(words)
    spec = registry().accelerators[request.name]
    config = build_config(request.name, spec.config, request.options)
    return list(spec.load()(config).designs(SimpleNamespace(name="test")))


def inside(high, low):
    return [step for step, sigma in enumerate(SIGMAS) if low <= sigma <= high]


def blockdance(interval):
    """Full outside 0.1 to 0.9 and every N-th step within: the last full one before the window counts."""
    middle = inside(0.9, 0.1)
    partial = [step for i, step in enumerate(middle) if (i + 1) % interval]
    return (STEPS - len(partial)) * BLOCKS + len(partial) * 10


@pytest.mark.parametrize(
    ("words", "evaluations"),
    [
        # constant input: what measures changes is never due, so that only the rules compute
        ("teacache:coefficients=identity", 2 * BLOCKS),
        ("fbcache", BLOCKS + 49),
        ("firstblock-taylor", 3 * BLOCKS + 47),
        ("dbcache", 8 * BLOCKS + 42 * 8),
        ("dbcache:first=1:last=2:warmup=4:max_consecutive=4", 13 * BLOCKS + 37 * 3),
        ("dbcache:first=2:max_skips=10", 40 * BLOCKS + 10 * 2),
        # 0, 1, 2, then 5, 8 … 47
        ("taylorseer:interval=3", 18 * BLOCKS),
        ("taylorseer:interval=5:order=2", 12 * BLOCKS),
        ("blockdance", blockdance(2)),
        ("blockdance:interval=4", blockdance(4)),
        # 0 to 4 are the first tenth, then one of every six: 10, 16 … 46
        ("magcache", 12 * BLOCKS),
        ("static:mask=0/3/9/20", 4 * BLOCKS),
        # 3 + 3 blocks are never skipped; the last step, and all outside of 0.1 to 0.9, run all
        (
            "teablockcache:coefficients=identity",
            (STEPS - len(inside(0.9, 0.1))) * BLOCKS + len(inside(0.9, 0.1)) * 6,
        ),
        ("cache:scope=blocks:first=18:indicator=interval:interval=2:final=0", 25 * BLOCKS + 25 * (18 + 18)),
        ("cache:scope=fnbn:first=4:last=4:indicator=firstblock", 2 * BLOCKS + 48 * 8),
    ],
)
def test_blocks_run_over_fifty_flux_steps(words, evaluations, monkeypatch):
    from fastdiffusers_caching import magcache

    monkeypatch.setattr(magcache, "kept_magnitudes", lambda info: STILL)
    done = drive(designs(words), [0.5] * STEPS, model_of(19, 38), SIGMAS)
    assert done.evaluations == evaluations
    assert sum(done.log.shares) == pytest.approx(evaluations / BLOCKS)


@pytest.mark.parametrize(
    ("words", "modules"),
    [
        # computed: 0, 1, 2, then 5, 8 … 47; attention and two MLPs of a double block, one module of a single one
        ("taylorseer:mode=module:interval=3", 18 * (2 * 3 + 4)),
        ("taylorseer:mode=module:interval=6:order=2", 10 * (2 * 3 + 4)),
        # the MLPs and what single blocks have of it are run in every step: 0, then every second, and the last
        ("cache:scope=module:modules=attention:indicator=interval:interval=2:estimator=output", 26 * (2 + 4)),
    ],
)
def test_modules_run_over_fifty_steps(words, modules, pipe):
    runs = []

    def counting(inner):
        return lambda *inputs, **named: runs.append(1) or inner(*inputs, **named)

    attention = "attention" in words
    doubles, singles = pipe.transformer.transformer_blocks, pipe.transformer.single_transformer_blocks
    owners = [(block.attn, "double") for block in doubles]
    owners += [] if attention else [(ff, "forward") for block in doubles for ff in (block.ff, block.ff_context)]
    owners += [(block.attn, "single") if attention else (block, "mixed") for block in singles]
    restore = [patch(owner, method, counting(getattr(owner, method))) for owner, method in owners]
    try:
        with accelerate(pipe, words, steps=STEPS) as session:
            draw(pipe, num_inference_steps=STEPS)
            (record,) = session.report()
    finally:
        for undo in reversed(restore):
            undo()
    assert len(runs) == modules
    assert STEPS - record.stats["cond"]["skipped"] == modules // len(owners)


def test_seacache_sees_a_still_probe_change_by_the_gain_alone():
    """On a constant probe the filter is its gain at frequency 0: the accumulator follows from the noise levels."""
    gains = [gain(2, sigma)[0] ** 2 for sigma in SIGMAS]
    expected, accumulated = 1, 0.0
    for step in range(1, STEPS):
        accumulated += abs(gains[step] - gains[step - 1]) / gains[step - 1]
        if accumulated >= 0.3 or step == STEPS - 1:
            expected, accumulated = expected + 1, 0.0
    done = drive(designs("seacache:threshold=0.3"), [0.5] * STEPS, model_of(19, 38), SIGMAS)
    assert done.evaluations == expected * BLOCKS and 2 < expected < STEPS


def test_teablockcache_forecasts_whole_steps_when_the_first_block_is_calm():
    words = "teablockcache:coefficients=identity:taylor=1:times=2"
    done = drive(designs(words), [0.5] * STEPS, model_of(19, 38), SIGMAS)
    none = [i for i, run in enumerate(done.runs) if not run]
    middle = inside(0.9, 0.1)
    assert none and set(none) < set(middle)
    # at most two forecasts in a row
    assert not any({step, step + 1, step + 2} <= set(none) for step in none)
    moving = drive(designs(words + ":calm=0"), [0.5] * STEPS, model_of(19, 38), SIGMAS)
    assert all(moving.runs)


def test_every_preset_is_tried_here():
    assert sorted(ENGAGED) == PRESETS


@pytest.mark.parametrize("name", PRESETS)
def test_it_keeps_the_accelerators_contract(name, pipe):
    options = dict(part.split("=") for part in ENGAGED[name].split(":"))
    report = check_accelerator(name, pipe, options)
    assert report.record.engaged and report.record.stats["bytes"] > 0
    assert "true_cfg" in pipe.info.features and "branches do not mix" in report.checks


@pytest.mark.parametrize("name", PRESETS)
def test_its_trial_options_skip_something_on_random_weights(name, pipe):
    spec = registry().accelerators[name]
    for steps in (8, 10):
        with accelerate(pipe, f"{name}:{spec.trial}" if spec.trial else name, steps=steps) as session:
            draw(pipe, num_inference_steps=steps)
            assert session.report()[0].engaged


def draw(pipe, **changes):
    arguments = {"seed": 1, "num_inference_steps": 10, "output_type": "latent", **changes}
    return pipe("a red apple", **arguments).images


@pytest.mark.parametrize("name", PRESETS)
def test_threshold_zero_or_its_like_gives_the_same_bits(name, pipe):
    plain = draw(pipe)
    with accelerate(pipe, f"{name}:{OFF.get(name, 'threshold=0')}", steps=10) as session:
        assert not session.report()[0].engaged
        assert draw(pipe).tobytes() == plain.tobytes()
        (record,) = session.report()
    assert not record.engaged and record.stats["cond"] == {"steps": 10, "skipped": 0, "computed": 10}


@pytest.mark.parametrize("name", PRESETS)
def test_below_eight_steps_it_is_refused_unless_forced(name, pipe):
    options = ENGAGED[name]
    for setting in ({"steps": 7}, {"steps": 28, "strength": 0.2}):
        with pytest.raises(PlanError, match=rf"^{name} at \d steps gains little"):
            if name == "static":
                accelerate(pipe, "static:mask=0/3", **setting)
            accelerate(pipe, f"{name}:{options}", **setting)
    words = "static:mask=0/1/4/6:force=true" if name == "static" else f"{name}:{options}:force=true"
    accelerate(pipe, words, steps=7).detach()


@pytest.mark.parametrize(
    "words", ["taylorseer", "static:mask=0/1/4/6", "blockdance", "magcache", "cache:indicator=interval"]
)
def test_what_sees_no_tensor_is_foretold_exactly(words, pipe):
    with accelerate(pipe, words, steps=10) as session:
        expected = session.report()[0].effect
        draw(pipe)
        (record,) = session.report()
    assert expected == f"expected: skips {record.stats['cond']['skipped']} of 10"


def test_the_first_block_caches_follow_a_batch_with_one_decision(pipe):
    with accelerate(pipe, "fbcache:threshold=2", steps=10) as session:
        draw(pipe, num_images_per_prompt=2)
        (record,) = session.report()
    assert record.stats["cond"]["steps"] == 10 and len(record.stats["pattern"]) == 10


def test_each_branch_is_counted_by_itself(pipe):
    with accelerate(pipe, "taylorseer", steps=10) as session:
        draw(pipe, negative_prompt="dog", true_cfg_scale=2.0)
        (record,) = session.report()
    assert record.effect == "skipped 5 of 10 steps (cond), skipped 5 of 10 steps (uncond)"
    single = record.stats["bytes"]
    with accelerate(pipe, "taylorseer", steps=10) as session:
        draw(pipe)
        assert 2 * session.report()[0].stats["bytes"] == single


def refusal(words, pipe, **setting):
    plan = make_plan(parse(words), registry(), pipe.info, replace(pipe.info.default_setting, **setting))
    with pytest.raises(PlanError) as error:
        plan.check()
    assert "\n" not in str(error.value)
    return str(error.value)


def test_what_does_not_fit_the_model_is_refused_beforehand(pipe):
    assert "first=8 and last=0 leave no block between them in a stack of 6" in refusal("dbcache", pipe)
    assert "cut=6 is no place within a stack of 6" in refusal("blockdance:cut=6", pipe)
    assert "the mask is for 10 steps, here are 28" in refusal("static:mask=1111100000", pipe)
    assert "the mask computes step 30" in refusal("static:mask=0/30", pipe)
    assert "static needs a mask: give mask=…, or run `fastdiff calibrate static" in refusal("static", pipe)
    assert "no mask of 12 computed steps out of 28" in refusal("static:budget=12", pipe)
    assert "teablockcache has no coefficients for" in refusal("teablockcache", pipe)
    assert "both teacache and seacache claim 'blocks'" in refusal("teacache:coefficients=identity,seacache", pipe)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("interval=3", "interval means nothing with indicator=seacache; it belongs to indicator=interval or sortblock"),
        ("order=2", "order means nothing with estimator=residual"),
        ("cut=2", "cut means nothing with scope=stack"),
        ("indicator=interval:threshold=0.1", "threshold means nothing with indicator=interval"),
        ("indicator=static", "indicator=static needs mask"),
        ("indicator=static:mask=1/2", "does not compute step 0"),
        ("indicator=magic", "indicator must be one of: probe, teacache"),
    ],
)
def test_options_of_other_parts_are_refused(options, message, pipe):
    with pytest.raises(PlanError, match=message):
        make_plan(parse(f"cache:{options}"), registry(), pipe.info, pipe.info.default_setting)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("indicator=firstblock", "first-block indicator needs blocks that are always computed"),
        ("indicator=sortblock", "ranks single blocks"),
        ("scope=module", "a module has no residual|module has no residual"),
        ("scope=module:estimator=taylor:of=residual", "module has no residual"),
    ],
)
def test_products_without_sense_are_refused_in_one_line(options, message, pipe):
    assert re.search(message, refusal(f"cache:{options}", pipe))


def test_every_preset_names_what_to_cite():
    for name in PRESETS:
        references = registry().accelerators[name].references
        assert references or name in ("static", "cache"), name
        assert all(reference.arxiv or reference.url for reference in references)
