"""The accelerator that draws with an adapter: merged and taken off exactly, its own steps, refusals in a line."""

import json
import shutil

import numpy as np
import pytest
from adapters import make_adapter

import fastdiffusers
from fastdiffusers.distillation.adapter import CARD, WEIGHTS, choose_adapter, find_adapters, own_folder, read_card
from fastdiffusers.errors import InputError, PlanError, UserError
from fastdiffusers.pipelines.family import image_sigmas
from fastdiffusers.testing import check_accelerator, tiny_flux
from fastdiffusers.weights.lora import read_lora


@pytest.fixture(scope="module")
def pipe():
    return tiny_flux()


@pytest.fixture
def adapter(tmp_path, pipe):
    return make_adapter(tmp_path / "adapter", pipe)


def latents(pipe, **options):
    return np.asarray(pipe("a red apple", seed=3, output_type="latent", **options).latents)


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["euler", "lcm"])
def test_keeps_the_contract(tmp_path, sampler):
    pipe = tiny_flux()
    folder = make_adapter(tmp_path / "adapter", pipe, sampler=sampler)
    report = check_accelerator("pcm", pipe, {"adapter": str(folder)}, steps=4)
    assert report.record.stats["steps"] == 4


def test_merges_what_the_file_says_and_draws_in_its_steps(pipe, adapter):
    layer = pipe.transformer.transformer_blocks[0].attn.to_q
    before = layer.weight.numpy()
    with fastdiffusers.accelerate(pipe, f"pcm:adapter={adapter}:scale=0.5") as session:
        file = read_lora(adapter / WEIGHTS, _shapes(pipe))
        delta = file.layers["transformer_blocks.0.attn.to_q"].delta().T
        np.testing.assert_allclose(layer.weight.numpy() - before, 0.5 * delta, atol=1e-6)
        latents(pipe)  # 28 steps are the pipeline's default
        assert pipe.context.steps == 4
        record = session.report()[0]
        assert record.engaged and record.stats["scale"] == 0.5
        assert record.effect.startswith("4 steps; ")
    assert np.array_equal(layer.weight.numpy(), before)
    latents(pipe, num_inference_steps=2)
    assert pipe.context.steps == 2


def _shapes(pipe):
    from paddle import nn

    layers = pipe.transformer.named_sublayers()
    return {path: tuple(layer.weight.shape) for path, layer in layers if isinstance(layer, nn.Linear)}


def test_a_scheduler_of_another_package_is_not_replaced(adapter):
    held = tiny_flux()
    held.scheduler = type("DDIMScheduler", (), {})()
    before = held.transformer.transformer_blocks[0].attn.to_q.weight
    with pytest.raises(UserError, match="draws with a DDIMScheduler of another package"):
        fastdiffusers.accelerate(held, f"pcm:adapter={adapter}")
    del held.scheduler  # as of a pipeline that keeps it elsewhere
    with pytest.raises(UserError, match="draws with a scheduler of another package"):
        fastdiffusers.accelerate(held, f"pcm:adapter={adapter}")
    assert held.transformer.transformer_blocks[0].attn.to_q.weight is before


def test_levels_of_a_call_are_kept(pipe, adapter):
    with fastdiffusers.accelerate(pipe, f"pcm:adapter={adapter}"):
        latents(pipe, sigmas=[1.0, 0.7, 0.2])
        assert pipe.context.steps == 3


def test_scale_zero_has_no_effect_and_says_so(pipe, adapter):
    with fastdiffusers.accelerate(pipe, f"pcm:adapter={adapter}:scale=0") as session:
        latents(pipe)
        assert not session.report()[0].engaged


def test_a_bare_lora_file_says_nothing_of_steps_and_sampler(pipe, adapter):
    file = (adapter / WEIGHTS).rename(adapter / "stranger.safetensors")  # the card beside it is not its
    with fastdiffusers.accelerate(pipe, f"pcm:adapter={file}:steps=3:sampler=lcm") as session:
        latents(pipe)
        assert pipe.context.steps == 3
        assert pipe.scheduler.sampler == "lcm"
        assert "LoRA file" in session.report()[0].reason


def test_the_weights_of_a_folder_bring_its_card(pipe, tmp_path):
    folder = make_adapter(tmp_path / "adapter", pipe, steps=3, sampler="lcm")
    with fastdiffusers.accelerate(pipe, f"pcm:adapter={folder / WEIGHTS}"):
        latents(pipe)
        assert pipe.context.steps == 3 and pipe.scheduler.sampler == "lcm"


def test_a_card_without_weights_is_refused_before_anything_is_loaded(pipe, adapter):
    (adapter / WEIGHTS).unlink()
    with pytest.raises(PlanError, match=r"holds no adapter.safetensors"):
        fastdiffusers.accelerate(pipe, f"pcm:adapter={adapter}")


def test_an_adapter_of_another_model_is_told_with_both_names(tmp_path, pipe):
    folder = make_adapter(tmp_path / "other", pipe, base="another-model", base_sha256="ab" * 32)
    with fastdiffusers.accelerate(pipe, f"pcm:adapter={folder}") as session:
        reason = session.report()[0].reason
    assert "another-model" in reason and pipe.info.name in reason and "WARNING" in reason


@pytest.mark.parametrize(
    ("options", "setting", "message"),
    [
        ("steps=3", {}, "was made for 4"),
        ("sampler=lcm", {}, "was made for euler"),
        ("", {"steps": 7}, "draws in 4 steps, not 7"),
        ("", {"guidance": 9.0}, "trained for guidance 1 to 5, not 9"),
    ],
)
def test_refuses_what_it_was_not_made_for(tmp_path, pipe, options, setting, message):
    folder = make_adapter(tmp_path / "adapter", pipe, guidance_min=1.0, guidance_max=5.0)
    words = f"pcm:adapter={folder}" + (f":{options}" if options else "")
    with pytest.raises(PlanError, match=message):
        fastdiffusers.accelerate(pipe, words, **setting)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / CARD).unlink(), "has no fastdiff.json"),
        (lambda folder: (folder / CARD).write_text("{"), "not readable JSON"),
        (lambda folder: (folder / CARD).write_text("{}"), "does not describe an adapter"),
        (lambda folder: _change(folder, "steps", 0), "at least 1"),
        (lambda folder: _change(folder, "steps", "four"), "of the wrong kind"),
        (lambda folder: _change(folder, "format", 9), "this version reads 1"),
        (lambda folder: _change(folder, "sampler", "heun"), "sampler.*'heun'.*euler, lcm"),
        (lambda folder: _change(folder, "shift", 0), "shift is 0; valid are 0.01 to 100"),
        (lambda folder: _change(folder, "shift", "much"), "shift is 'much', which is of the wrong kind"),
    ],
)
def test_a_card_that_is_none_is_said_in_one_line(pipe, adapter, damage, message):
    damage(adapter)
    with pytest.raises(UserError, match=message) as caught:
        fastdiffusers.accelerate(pipe, f"pcm:adapter={adapter}")
    assert "\n" not in str(caught.value)


def _change(folder, name, value):
    card = json.loads((folder / CARD).read_text())
    (folder / CARD).write_text(json.dumps({**card, name: value}))


def test_a_missing_adapter_is_named(pipe, tmp_path):
    with pytest.raises(PlanError, match="no adapter"):
        fastdiffusers.accelerate(pipe, f"pcm:adapter={tmp_path / 'nothing'}")


def test_own_adapters_are_found_by_method_and_steps(tmp_path, pipe, monkeypatch):
    monkeypatch.setenv("FASTDIFFUSERS_HOME", str(tmp_path))
    info = pipe.info
    with pytest.raises(InputError, match="fastdiff distill pcm"):
        choose_adapter(info, "pcm", None, 4)
    for steps in (2, 4):
        make_adapter(own_folder(info.name, info.sha256, "pcm", steps), pipe, steps=steps)
    make_adapter(own_folder(info.name, info.sha256, "pcm", 8), pipe, steps=8, base_sha256="00" * 32)
    assert list(find_adapters(info, "pcm")) == [2, 4]  # the third belongs to another model
    assert read_card(choose_adapter(info, "pcm", None, 4)).steps == 4
    assert read_card(choose_adapter(info, "pcm", 2, 4)).steps == 2
    with pytest.raises(InputError, match="valid: 2, 4"):
        choose_adapter(info, "pcm", 3, 4)
    with fastdiffusers.accelerate(pipe, "pcm:steps=2"):
        latents(pipe)
        assert pipe.context.steps == 2


def test_the_plan_says_the_steps_that_will_be_drawn(tmp_path, pipe, adapter):
    from fastdiffusers.plan import make_plan, parse
    from fastdiffusers.plugins import registry

    plan = make_plan(parse(f"pcm:adapter={adapter}"), registry(), pipe.info, pipe.info.default_setting)
    assert plan.setting.steps == 28 and plan.effective.steps == 4
    cached = make_plan(parse(f"pcm:adapter={adapter},fbcache"), registry(), pipe.info, pipe.info.default_setting)
    assert any("4 steps" in refusal.reason for refusal in cached.refusals)  # a cache sees what is left to skip


def test_levels_of_its_own_are_foretold_and_drawn_with(tmp_path, pipe):
    folder = make_adapter(tmp_path / "adapter", pipe, steps=4, shift=3.0)
    plain = make_adapter(tmp_path / "plain", pipe, steps=4)
    own = [1, 0.9, 0.75, 0.5, 0]
    with fastdiffusers.accelerate(pipe, f"pcm:adapter={folder}") as session:
        (planned,) = session.plan.items
        assert planned.prediction.effect == "draws in 4 steps, levels shifted by 3"
        np.testing.assert_allclose(image_sigmas(pipe.info, planned.prediction.setting), own[:-1], atol=1e-7)
        shifted = latents(pipe)
        np.testing.assert_allclose(pipe.scheduler.sigmas, own, atol=1e-7)
        (record,) = session.report()
        assert record.effect.startswith("4 steps; levels shifted by 3; ")
        assert record.stats["shift"] == 3.0 and record.stats["fingerprint"].endswith("-shift-3")
    with fastdiffusers.accelerate(pipe, f"pcm:adapter={plain}") as session:
        other = latents(pipe)
        assert "-shift-" not in session.report()[0].stats["fingerprint"]
        assert np.abs(pipe.scheduler.sigmas - own).max() > 0.05
    assert np.abs(shifted - other).max() > 1e-3
    # a file says nothing of levels; with its options it draws the same
    with fastdiffusers.accelerate(pipe, f"pcm:adapter={shutil.copy(folder / WEIGHTS, tmp_path)}:steps=4:shift=3"):
        np.testing.assert_array_equal(latents(pipe), shifted)
    for words, said in ((f"{plain}:shift=3", "shift=3.0, but the adapter .* was made for the model's own"),):
        with pytest.raises(PlanError, match=said):
            fastdiffusers.accelerate(pipe, f"pcm:adapter={words}")
