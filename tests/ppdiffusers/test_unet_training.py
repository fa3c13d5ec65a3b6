"""Whole distillations of the tiny SD1.5 and SDXL: what is written, that a cut one goes on, what is refused."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import paddle
import pytest
from commands import lcm
from PIL import Image
from safetensors.numpy import load_file

import fastdiffusers
from fastdiffusers.distillation.adapter import WEIGHTS, read_card
from fastdiffusers.distillation.dry_run import describe_distillation
from fastdiffusers.distillation.imported import import_command
from fastdiffusers.distillation.keys import DistillConfig
from fastdiffusers.distillation.merged_folder import merge_folder
from fastdiffusers.distillation.method import teacher_family
from fastdiffusers.distillation.networks import CRITIC, STUDENT, TARGET, TEACHER
from fastdiffusers.distillation.process import LatentConsistency
from fastdiffusers.distillation.task import DistillTask
from fastdiffusers.errors import InputError, PlanError, WeightsError
from fastdiffusers.models.info import describe
from fastdiffusers.plugins import registry
from fastdiffusers.training.recipe import build_config, load_recipe
from fastdiffusers.training.trainer import Trainer
from fastdiffusers_ppdiffusers.components import load_network
from fastdiffusers_ppdiffusers.few_steps import few_step_scheduler
from fastdiffusers_ppdiffusers.runtime import load_ppdiffusers
from fastdiffusers_ppdiffusers.timesteps import betas_of

GOLDEN = Path(__file__).parents[1] / "golden"
ROLES = (TEACHER, STUDENT, TARGET)
PUBLISHED = json.loads((GOLDEN / "published_unets.json").read_text())
SMALL = {"precision": "float32", "resolution": "16", "rank": "2", "batch": "2", "steps": "4", "checkpoint_every": "2"}
TURNS = {"dmd2": {"opponent_warmup": "1", "opponent_turns": "1"}}
SMALL |= {"sample_every": "9", "validation_prompts": "2", "teacher_steps": "2", "lr": "1e-3"}


@pytest.fixture(scope="module", autouse=True)
def home(tmp_path_factory):
    """Prepared examples are kept for the module."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FASTDIFFUSERS_HOME", str(tmp_path_factory.mktemp("home")))
        yield


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for i, words in enumerate(("a red apple", "a cat", "a dog", "a blue moon")):
        Image.fromarray(rng.integers(0, 255, (20, 20, 3), dtype=np.uint8)).save(folder / f"{i}.png")
        (folder / f"{i}.txt").write_text(words)
    return folder


@pytest.fixture
def configured(checkpoints, pictures):
    """``configured(method, family, recipe, **keys)``: a shipped recipe, made small."""

    def make(method, name, recipe=None, **keys) -> DistillConfig:
        spec = registry().distillers[method]
        words = {
            "method": method,
            "model": str(checkpoints[name]),
            "data": str(pictures),
            **SMALL,
            **TURNS.get(method, {}),
            **keys,
        }
        file = spec.recipe(recipe, str(checkpoints[name]))
        assert file.stem == (recipe or name)
        return load_recipe(DistillConfig, file, [f"{key}={value}" for key, value in words.items()])

    return make


def trained(config: DistillConfig, folder: Path, crash_at: int | None = None) -> DistillTask:
    task = DistillTask(config)
    paddle.seed(config.seed)
    groups = task.build()
    if crash_at is not None:
        step = task.step

        def stopping(batch, index):
            if index == crash_at:
                raise KeyboardInterrupt
            return step(batch, index)

        task.step = stopping
    Trainer(task, groups, folder).run()
    return task


@pytest.mark.slow
@pytest.mark.parametrize(("method", "name"), [("lcm", "sdxl"), ("pcm", "sd15"), ("dmd2", "sdxl")])
def test_an_adapter_comes_out_and_a_cut_training_gives_the_same(configured, tmp_path, method, name):
    config = configured(method, name)
    teacher = fastdiffusers.load(config.model).denoiser
    task = trained(config, tmp_path / "whole")
    for path, value in task.networks.teacher.named_parameters():
        if "lora" not in path and "_A" not in path and "_B" not in path:
            assert (value.numpy() == dict(teacher.named_parameters())[path.replace(".base", "")].numpy()).all(), path
    with pytest.raises(KeyboardInterrupt):
        trained(config, tmp_path / "cut", crash_at=3)
    trained(config, tmp_path / "cut")
    whole, cut = (load_file(tmp_path / place / WEIGHTS) for place in ("whole", "cut"))
    assert whole.keys() == cut.keys() and len(whole) == 3 * len(task.networks.bank.layers)
    for key, value in whole.items():
        assert (cut[key] == value).all(), key
    # every layer has learnt something, convolutions too
    assert all(value.any() for key, value in whole.items())
    card = read_card(tmp_path / "whole")
    info = describe(config.model)
    assert (card.method, card.base, card.base_sha256, card.steps) == (method, name, info.sha256, 4)
    assert (card.sampler, card.guidance_min, card.guidance_max) == ("euler" if method == "pcm" else "lcm", 1.0, 1.0)
    pipe = fastdiffusers.load(config.model)
    with fastdiffusers.accelerate(pipe, f"{method}:adapter={tmp_path / 'whole'}") as session:
        first = pipe("a red apple", seed=1, height=16, width=16, output_type="latent").latents
        (record,) = session.report()
    assert record.engaged and record.stats["steps"] == 4 and record.stats["layers"] == len(task.networks.bank.layers)
    assert np.isfinite(first).all()
    # as one folder it draws the same, with the steps and the scheduler of its own
    merged = merge_folder(tmp_path / "whole", info, tmp_path / "merged")
    assert merged.weights == len(task.networks.bank.layers)
    alone = fastdiffusers.load(tmp_path / "merged")
    assert type(alone.scheduler).__name__ == ("DDIMScheduler" if method == "pcm" else "LCMScheduler")
    again = alone("a red apple", seed=1, height=16, width=16, output_type="latent").latents
    assert np.abs(again - first).max() <= 1e-5 * np.abs(first).max()
    for words, said in (({"guidance": 6.0}, "valid is --guidance 0 to 2"), ({"steps": 9}, "4 steps, not 9")):
        with pytest.raises(PlanError, match=said):
            fastdiffusers.accelerate(pipe, f"{method}:adapter={tmp_path / 'whole'}", **words)


@pytest.mark.slow
def test_a_student_trained_in_full_is_told_the_guidance_and_followed_by_its_average(configured, tmp_path):
    name = "sdxl"
    config = configured("lcm", name, f"{name}-full", lr="1e-4")
    assert config.target_ema == 0.95
    task = trained(config, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        trained(config, tmp_path / "cut", crash_at=3)
    trained(config, tmp_path / "cut")
    files = [tmp_path / place / "unet" / "diffusion_pytorch_model.safetensors" for place in ("whole", "cut")]
    whole, cut = map(load_file, files)
    assert whole.keys() == cut.keys() and all((cut[key] == value).all() for key, value in whole.items())
    # diffusers' names and shapes: those of a UNet with an embedding of 256 for the guidance
    content = json.loads((GOLDEN / "ppdiffusers" / f"{name}.json").read_text(encoding="utf-8"))
    shapes = {key: tuple(shape) for key, shape in content["weights"]["unet"].items()}
    embedding = {"time_embedding.cond_proj.weight": (8, 256)}
    assert {key: value.shape for key, value in whole.items()} == shapes | embedding
    again = load_network(tmp_path / "whole" / "unet", "float32")
    assert again.config.time_cond_proj_dim == 256
    for key, value in again.named_parameters():
        assert (value.numpy() == task.networks.parameters[STUDENT][f"{STUDENT}.{key}"].numpy()).all(), key
    # the folder with it is told the guidance, one branch at any
    merge_folder(tmp_path / "whole", describe(config.model), tmp_path / "merged")
    pipe = fastdiffusers.load(tmp_path / "merged")
    assert (pipe.info.default_setting.steps, pipe.info.default_setting.guidance) == (4, 5.0)
    words = {"height": 16, "width": 16, "output_type": "latent", "num_inference_steps": 1}
    drawn = [pipe("a cat", seed=1, guidance_scale=guidance, **words).latents for guidance in (5.0, 9.0)]
    told = task.family.encode_captions(pipe, ["a cat"])[:2]
    for latents, guidance in zip(drawn, (5.0, 9.0), strict=True):
        walk = task.family.walk(config, (16, 16), 1, student=True)
        given = task.told(*told, np.full(1, guidance, np.float32), (16, 16))
        with paddle.no_grad():
            x = paddle.to_tensor(task.family.noise([1], (16, 16)))
            predicted = task.networks.predict(STUDENT, x, paddle.full([1], 999.0), given)
            expected = walk.step(predicted, 0, x).numpy()
        assert np.abs(latents - expected).max() <= 1e-4 * np.abs(expected).max()
    assert (drawn[0] != drawn[1]).any()
    scene = task.scene(*task.batch(np.arange(2), np.random.default_rng(0)), 0)
    assert (scene.student.guidance.numpy() == scene.scale.numpy()).all() and (scene.scale.numpy() >= 4).all()
    with paddle.no_grad():
        told = {role: task.networks.predict(role, scene.x, scene.sigma, scene.student).numpy() for role in ROLES}
        other = scene.student.told(8.0)
        moved = {role: task.networks.predict(role, scene.x, scene.sigma, other).numpy() for role in ROLES}
    assert {role: (moved[role] != told[role]).any() for role in ROLES} == {TEACHER: False, STUDENT: True, TARGET: True}
    assert (told[STUDENT] != told[TARGET]).any()


def test_recomputed_activations_change_no_gradient(configured):
    found = []
    for recompute in ("false", "true"):
        config = configured("lcm", "sdxl", recompute=recompute)
        task = DistillTask(config)
        task.build()
        rng = np.random.default_rng(3)
        with paddle.no_grad():
            for value in task.networks.parameters[STUDENT].values():
                value.set_value(rng.standard_normal(value.shape).astype(np.float32) / 10)
        step = task.step(task.batch(np.arange(2), np.random.default_rng(0)), 0)
        step.loss.backward()
        found.append({key: value.grad.numpy() for key, value in task.networks.parameters[STUDENT].items()})
    plain, again = found
    for key, value in plain.items():
        assert value.any() and np.abs(again[key] - value).max() <= 1e-5 * np.abs(value).max(), key


def test_the_teacher_draws_examples_with_its_guidance(configured, tmp_path, pictures):
    """From a file of prompts; its ways may be kept, and trained on."""
    (tmp_path / "prompts.txt").write_text("a red apple\na cat\n")
    keys = {"data": "teacher", "prompts": str(tmp_path / "prompts.txt"), "solver_steps": "4", "teacher_steps": "4"}
    config = configured("pcm", "sdxl", trajectories="true", phases="2", **keys)
    task = trained(config, tmp_path / "out")
    examples = task.store.examples(np.arange(2), np.random.default_rng(0))
    assert examples.latents.shape == (2, 4, 8, 8) and examples.states.shape == (2, 5, 4, 8, 8)
    assert (examples.states[:, -1] == examples.latents).all() and (examples.states[:, 0] == examples.noise).all()
    pipe = fastdiffusers.load(config.model)
    kind, settings = few_step_scheduler(dict(pipe.scheduler.config), "euler", 4)
    stock = getattr(load_ppdiffusers(), kind).from_config(settings)
    words = {"height": 16, "width": 16, "num_inference_steps": 4, "output_type": "latent"}
    for i, prompt in enumerate(("a red apple", "a cat")):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(pipe.pipe, "scheduler", stock)
            guidance = float(examples.guidance[i])
            drawn = pipe(prompt, latents=examples.noise[i : i + 1], guidance_scale=guidance, **words).latents[0]
        assert np.abs(drawn - examples.latents[i]).max() <= 2e-3 * np.abs(drawn).max()


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"true_guidance": "false"}, "true_guidance=false, but the UNet of sd15 has no guidance input"),
        ({"compat": "reference"}, "compat=reference is the arithmetic of a flow"),
        ({"phases": "2"}, "sampler=lcm goes by way of the clean latent, to which a student of 2 phases does not jump"),
        ({"phases": "3", "solver_steps": "48", "sampler": "euler"}, "solver_steps 48 does not divide the 1000"),
        ({"shift": "3"}, "shift=3 is of a flow's levels; the UNet of sd15 has timesteps: leave it out"),
        ({"targets": "[blocks]"}, "unknown target 'blocks'; valid: all, attention, convolution, mlp, modulation"),
    ],
)
def test_what_a_unet_cannot_do_is_refused_before_anything_is_prepared(configured, keys, said):
    with pytest.raises(InputError, match=said.replace("(", r"\(")):
        describe_distillation(configured("lcm", "sd15", **keys))


@pytest.mark.parametrize("lora", [True, False])
@pytest.mark.parametrize("name", ["sd15", "sdxl"])
def test_the_documents_commands_become_recipes_of_these_models(checkpoints, pictures, name, lora):
    """LoRA and in full; only the places are ours, and what a CPU cannot do."""
    imported = import_command(lcm(lora, name == "sdxl"))
    places = {"model": str(checkpoints[name]), "data": str(pictures), "data_kind": "auto", "file_list": ""}
    here = {"precision": "float32", "resolution": 16, "min_side": 0}
    config = build_config(DistillConfig, {**imported.recipe, **places, **here, "method": imported.method})
    lines, figures = describe_distillation(config)
    assert figures["levels"] == [999.0, 0.0] and any("examples:" in line for line in lines)
    family = teacher_family(describe(checkpoints[name]))
    shipped = load_recipe(DistillConfig, registry().distillers["lcm"].recipe(name if lora else f"{name}-full", ""))
    same = "terms phases student_steps sampler solver_steps form loss huber_c guidance_min guidance_max true_guidance "
    same += "edge_share steps batch warmup_steps weight_decay clip recompute target_ema train"
    for key in same.split() + (["rank", "lr"] if lora else []):
        assert getattr(config, key) == getattr(shipped, key), key
    assert isinstance(family.process(config), LatentConsistency)


@pytest.mark.parametrize(
    ("change", "said"),
    [({"prediction_type": "v_prediction"}, "valid: epsilon"), ({"beta_schedule": "cosine"}, "linear, scaled_linear")],
)
def test_other_noise_processes_are_refused(checkpoints, change, said):
    settings = describe(checkpoints["sd15"]).scheduler()
    assert len(betas_of(settings)) == 1000 and betas_of(settings)[0] == pytest.approx(0.00085)
    with pytest.raises(WeightsError, match=said):
        betas_of({**settings, **change})


def test_a_dry_run_says_roles_levels_and_memory(configured):
    lines, figures = describe_distillation(configured("lcm", "sdxl"))
    assert figures["frozen_parameters"] > 50_000 and set(figures["trained_parameters"]) == {STUDENT}
    assert figures["levels"] == [999.0, 0.0] and "sdxl" in lines[0]
    lines, figures = describe_distillation(configured("lcm", "sd15", "sd15-full"))
    assert any(line.startswith("target: the student's average, decay 0.95") for line in lines)
    assert figures["trained_parameters"][STUDENT] == figures["frozen_parameters"] + 8 * 256
    _, figures = describe_distillation(configured("pcm", "sd15"))
    assert figures["levels"] == [999.0, 749.0, 499.0, 249.0, 0.0]
    config = configured("dmd2", "sdxl")
    _, figures = describe_distillation(config)
    assert config.dmd_gan_weight == 0.005 and set(figures["trained_parameters"]) == {STUDENT, CRITIC}
    assert figures["trained_parameters"][CRITIC] == figures["trained_parameters"][STUDENT] + 16 * 16 + 4 * 16 + 1
    walk = teacher_family(describe(config.model)).walk(config, (16, 16), 4, True)
    assert walk.sigmas.tolist() == [999.0, 749.0, 499.0, 249.0, 0.0]


@pytest.mark.parametrize(("name", "count", "numbers"), [("sd15", 278, 67_252_224), ("sdxl", 788, 196_751_360)])
def test_adapters_are_on_the_layers_of_the_published_ones(checkpoints, monkeypatch, name, count, numbers):
    """By the settings of the published UNets, no weights; at rank 64 as many numbers as the files of 135 and 394 MB."""
    from fastdiffusers.distillation import exporting
    from fastdiffusers_ppdiffusers import teachers
    from fastdiffusers_ppdiffusers.roles import GROUPS, WITHIN

    settings = PUBLISHED[name]
    info = describe(checkpoints[name])
    monkeypatch.setattr(teachers, "build_network", lambda folder: _build(settings))
    shapes = exporting.weight_shapes(
        teacher_family(
            dataclasses.replace(info, transformer={"block_out_channels": (320, 640, 1280, 1280), **settings})
        )
    )
    found = {path: list(shape) for path, shape in shapes.items() if path.startswith(WITHIN)}
    assert found == json.loads((GOLDEN / f"lcm_lora_{name}.json").read_text()) and len(found) == count
    assert sum(64 * (int(np.prod(shape[1:])) + shape[0]) for shape in found.values()) == numbers
    for path in found:
        assert sum(any(part in f".{path}." for part in parts) for parts in GROUPS.values()) == 1, path


def _build(settings):
    with paddle.LazyGuard():
        return load_ppdiffusers().UNet2DConditionModel.from_config(settings)
