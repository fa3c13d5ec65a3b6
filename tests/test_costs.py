"""What a run costs, from the configuration alone, against what is really there and really computed."""

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest

from fastdiffusers.accelerator import Setting
from fastdiffusers.caching.footprint import kept_vectors
from fastdiffusers.caching.stack import stack_of
from fastdiffusers.costs import Shape, costs_of
from fastdiffusers.errors import InputError, WeightsError
from fastdiffusers.models.info import describe
from fastdiffusers.plan import make_plan
from fastdiffusers.plugins import registry
from fastdiffusers.request import parse
from fastdiffusers_compile.choice import _factor
from fastdiffusers_compile.options import CINN

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture(scope="module")
def pipe():
    from fastdiffusers.testing import tiny_flux

    return tiny_flux()


@pytest.mark.parametrize(("name", "manifest"), [("flux.1-dev", "flux_dev"), ("flux.1-schnell", "flux_schnell")])
def test_parameters_are_those_of_the_released_weights(name, manifest):
    shapes = json.loads((GOLDEN / f"manifest_{manifest}.json").read_text())
    assert describe(name).parameters()["transformer"] == sum(math.prod(shape) for shape in shapes.values())


def test_parameters_of_the_other_parts_are_those_of_the_released_weights():
    found = describe("flux.1-dev").parameters()
    for part, manifest in (("text_encoder", "clip_l"), ("text_encoder_2", "t5_xxl")):
        shapes = json.loads((GOLDEN / f"manifest_{manifest}.json").read_text())
        assert found[part] == sum(math.prod(shape) for shape in shapes.values())
    shapes = json.loads((GOLDEN / "manifest_flux_vae.json").read_text())["shapes"]
    assert found["vae"] == sum(math.prod(shape) for shape in shapes.values())


def test_parameters_of_a_model_with_weights_are_counted_alike():
    info = describe("flux-emoji")
    assert Shape.of(info.transformer).parameters() == info.parameters()["transformer"]


def test_arithmetic_is_within_one_percent_of_a_count_by_hooks(pipe, monkeypatch):
    from paddle import nn

    from fastdiffusers.models import flux_blocks

    counted = []

    def linear(layer, inputs, output):
        counted.append(2 * int(layer.weight.size) * math.prod(output.shape[:-1]))

    attend = flux_blocks.attend

    def counting(q, k, v):
        counted.append(4 * q.shape[0] * q.shape[1] * k.shape[1] * q.shape[2] * q.shape[3])
        return attend(q, k, v)

    monkeypatch.setattr(flux_blocks, "attend", counting)
    hooks = [
        layer.register_forward_post_hook(linear)
        for layer in pipe.transformer.sublayers()
        if isinstance(layer, nn.Linear)
    ]
    try:
        pipe("a red apple", num_inference_steps=2, num_images_per_prompt=2, output_type="latent", seed=0)
    finally:
        for hook in hooks:
            hook.remove()
    setting = dataclasses.replace(pipe.info.default_setting, steps=2, batch=2)
    costs = costs_of(pipe.info, setting)
    assert costs.total_flops == pytest.approx(sum(counted), rel=0.01)


def test_steps_branches_and_batch_multiply():
    info = describe("flux.1-dev")
    base = Setting(steps=28, guidance=3.5, height=1024, width=1024)
    one = costs_of(info, base)
    assert (one.image_tokens, one.text_tokens, one.evaluations) == (4096, 512, 28)
    assert 70e12 < one.flops < 80e12
    assert one.latency(one.total_flops) == 1.0
    assert costs_of(info, dataclasses.replace(base, batch=3)).flops == 3 * one.flops
    assert costs_of(info, dataclasses.replace(base, true_cfg_scale=2.0)).evaluations == 56
    assert costs_of(info, dataclasses.replace(base, strength=0.5)).evaluations == 14
    assert one.to_dict()["weights_bytes"]["bfloat16"] == 2 * sum(info.parameters().values())


@pytest.mark.parametrize(
    "words",
    [
        "teacache:threshold=0.4:coefficients=identity",
        "fbcache:threshold=2",
        "dbcache:threshold=2:first=1:last=2:warmup=2",
        "taylorseer:mode=lite:interval=3:order=1",
        "blockdance:cut=3:interval=2",
    ],
)
def test_what_a_cache_keeps_is_what_it_reports(words, pipe):
    from fastdiffusers.session import accelerate

    info, size = pipe.info, pipe.info.default_setting
    with accelerate(pipe, words, steps=10) as session:
        pipe("a red apple", seed=1, num_inference_steps=10, output_type="latent")
        (record,) = session.report()
        cache = session.accelerator(record.name)
        designs = cache.designs(info)
    forms = stack_of(info.family).forms(info.transformer)
    costs = costs_of(info, size)
    vectors = kept_vectors(designs, forms, costs.image_tokens, costs.text_tokens)
    width = Shape.of(info.transformer).dim
    assert record.stats["bytes"] <= vectors * width * 4 <= 1.5 * record.stats["bytes"]


def test_a_cache_of_modules_is_not_estimated(pipe):
    info = pipe.info
    (item,) = make_plan(parse("taylorseer:mode=module"), registry(), info, info.default_setting).items
    designs = item.spec.load()(item.config).designs(info)
    assert kept_vectors(designs, stack_of(info.family).forms(info.transformer), 1, 1) is None


def test_a_factor_comes_with_its_source():
    info = describe("flux.1-dev")
    plan = make_plan(parse("teacache:threshold=0.4,cinn"), registry(), info, info.default_setting)
    factors = {item.spec.name: item.prediction.factor for item in plan.items}
    assert factors["teacache"].value == 1.8 and "A800" in factors["teacache"].source
    assert factors["cinn"] is None  # of a CPU's engine none is told
    published = _factor(CINN, "flux.1-dev")
    assert published.value == 1.318 and "published" in published.source and "not executed here" in published.source
    (item,) = make_plan(parse("static:mask=0/1/4/6:order=1"), registry(), info, info.default_setting).items
    factor = item.prediction.factor
    assert factor is None or np.isfinite(factor.value)


def test_an_outline_cannot_be_loaded_and_says_so():
    import fastdiffusers

    with pytest.raises(WeightsError, match=r"flux\.1-dev is known here by its configuration alone.*give the folder"):
        fastdiffusers.load("FLUX.1-dev")


def test_another_family_is_refused():
    info = dataclasses.replace(describe("flux-emoji"), family="sd15")
    with pytest.raises(InputError, match="costs are known for the family 'flux'"):
        costs_of(info, info.default_setting)
