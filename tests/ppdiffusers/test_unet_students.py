"""LoRA students of UNets: how they learn and what they draw is what torch and diffusers say (make_unet_students.py)."""

import json
from pathlib import Path

import numpy as np
import paddle
import pytest
from formula_weights import formula

import fastdiffusers
from fastdiffusers.distillation.adapter import CARD, WEIGHTS, AdapterCard, write_card
from fastdiffusers.distillation.exporting import export_adapter, open_source
from fastdiffusers.distillation.keys import DistillConfig
from fastdiffusers.distillation.method import teacher_family
from fastdiffusers.distillation.networks import STUDENT, TEACHER
from fastdiffusers.distillation.scene import Scene
from fastdiffusers.distillation.terms.consistency import Consistency, phase_target
from fastdiffusers.errors import PlanError
from fastdiffusers.weights.lora_layer import LoraLayer
from fastdiffusers.weights.tensor_file import read_tensors

GOLDEN = Path(__file__).parents[1] / "golden"
RANK, ALPHA = 2, 3.0
PHASES = {"lcm": (50, 1), "pcm": (40, 4)}


def close(found, expected: np.ndarray, rtol: float, name: str = "") -> None:
    """Within ``rtol`` of the largest. `numpy.testing` does not work beside ppdiffusers' ``numpy.bool``."""
    found = found.numpy() if hasattr(found, "numpy") else found
    assert found.shape == expected.shape, name
    assert np.abs(found.astype(np.float64) - expected).max() <= rtol * np.abs(expected).max() + 1e-9, name


def factors(path: str, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    inner = int(np.prod(shape[1:]))
    return formula(f"lora.{path}.down", (RANK, inner)), formula(f"lora.{path}.up", (shape[0], RANK))


@pytest.fixture
def student(pipelines):
    """``student(family, **recipe)``: family, networks with the golden adapter, recipe; taken out again afterwards."""
    made = []

    def build(name, **recipe):
        pipe = pipelines(name)
        config = DistillConfig(**{"true_guidance": True, "rank": RANK, "alpha": ALPHA, "solver_steps": 40, **recipe})
        family = teacher_family(pipe.info)
        family.check(config)
        networks = family.roles(family.network(pipe), config)
        made.append(networks)
        for path, layer in networks.bank.layers.items():
            layer.set_factors(STUDENT, *factors(path, layer.shape))
        return family, networks, config

    yield build
    for networks in made:
        networks.bank.remove()


@pytest.mark.parametrize("method", PHASES)
def test_a_step_of_an_adapter_is_torchs(student, method):
    """Noisy latents, the student's jump, the target by way of the guided solver, the loss, every factor's gradient."""
    golden = np.load(GOLDEN / "unet_lora_steps.npz")
    solver_steps, phases = PHASES[method]
    family, networks, config = student("sdxl", solver_steps=solver_steps, phases=phases, form="x", huber_c=10.0)
    latents, noise, text, pooled, guidance = (
        paddle.to_tensor(golden[name]) for name in ("latents", "noise", "text", "pooled", "guidance")
    )
    told = family.conditions(networks, text, pooled, guidance, (16, 16))
    empty = told.untexted(paddle.to_tensor(golden["empty"]), paddle.to_tensor(golden["empty_pooled"]))
    scene = Scene(
        networks,
        family.process(config),
        family.grid(config, (16, 16)),
        latents,
        noise,
        golden[f"{method}/index"],
        told,
        told,
        empty,
        guidance,
        np.random.default_rng(0),
    )
    close(scene.x, golden[f"{method}/x"], 1e-5)
    for name, found in (("landing", scene.landing), ("target", phase_target(scene))):
        for row, expected in zip(found, golden[f"{method}/{name}"], strict=True):
            close(row, expected, 1e-4, name)
    loss, _ = Consistency(config, networks).loss(scene)
    loss.backward()
    assert float(loss.item()) == pytest.approx(float(golden[f"{method}/loss"]), rel=1e-4)
    paths = [name.removeprefix(f"{method}/up/") for name in golden.files if name.startswith(f"{method}/up/")]
    assert set(paths) == networks.bank.layers.keys() and len(paths) == 89
    largest = max(np.abs(golden[f"{method}/{part}/{path}"]).max() for path in paths for part in ("down", "up"))
    for path in paths:
        for part, key in (("down", "A"), ("up", "B")):
            found = networks.parameters[STUDENT][f"{STUDENT}.{path}.lora_{key}"].grad.numpy()
            expected = golden[f"{method}/{part}/{path}"]
            found = found.T if found.ndim == 2 else found.reshape(expected.shape)
            assert np.abs(found - expected).max() <= 2e-3 * np.abs(expected).max() + 1e-6 * largest, (path, part)


@pytest.mark.parametrize("form", ["kohya", "diffusers"])
@pytest.mark.parametrize("name", ["sd15", "sdxl"])
def test_files_have_the_keys_and_shapes_that_diffusers_opens(student, tmp_path, name, form):
    family, networks, _ = student(name)
    write(family, networks, tmp_path / "x.safetensors", form)
    tensors, _ = read_tensors(tmp_path / "x.safetensors")
    wanted = json.loads(str(np.load(GOLDEN / "unet_lora_drawn.npz")[f"{name}/{form}"]))
    assert {key: list(value.shape) for key, value in tensors.items()} == wanted
    shapes = {path: layer.shape for path, layer in networks.bank.layers.items()}
    layers, _ = family.read_adapter(tmp_path / "x.safetensors", shapes)
    for path, layer in layers.items():
        down, up = factors(path, shapes[path])
        close(layer.delta(), ALPHA / RANK * up @ down, 1e-5, path)


@pytest.mark.parametrize("form", ["kohya", "diffusers"])
def test_an_exported_file_has_the_scale_of_the_card(student, pipelines, tmp_path, form):
    family, networks, _ = student("sd15")
    write(family, networks, tmp_path / WEIGHTS, "kohya")
    info = pipelines("sd15").info
    write_card(tmp_path, AdapterCard("lcm", info.name, info.sha256, 4, "lcm", 1.0, 1.0, scale=0.5))
    done = export_adapter(open_source(tmp_path), info, form, tmp_path / "x.safetensors", "float32")
    assert (done.layers, done.rank) == (79, RANK)
    shapes = {path: layer.shape for path, layer in networks.bank.layers.items()}
    before, after = (family.read_adapter(tmp_path / name, shapes)[0] for name in (WEIGHTS, "x.safetensors"))
    for path, layer in before.items():
        close(after[path].delta(), 0.5 * layer.delta(), 1e-6, path)


def write(family, networks, path: Path, form: str) -> None:
    shapes = {name: layer.shape for name, layer in networks.bank.layers.items()}
    layers = {name: LoraLayer(*factors(name, shape), ALPHA) for name, shape in shapes.items()}
    family.write_adapter(path, layers, shapes, {}, form, "float32")


@pytest.mark.parametrize(("method", "sampler", "form"), [("lcm", "lcm", "kohya"), ("pcm", "euler", "diffusers")])
@pytest.mark.parametrize("name", ["sd15", "sdxl"])
def test_pictures_are_those_of_diffusers_with_its_stock_schedulers(
    student, pipelines, tmp_path, monkeypatch, name, method, sampler, form
):
    family, networks, _ = student(name)
    write(family, networks, tmp_path / WEIGHTS, form)
    networks.bank.remove()
    pipe = pipelines(name)
    info = pipe.info
    training = {"solver_steps": PHASES[method][0]}
    write_card(tmp_path, AdapterCard(method, info.name, info.sha256, 4, sampler, 1.0, 1.0, training=training))
    calls = []

    def noise(shape, *_, **__):
        calls.append(shape)
        return paddle.to_tensor(4.0 * formula(f"noise.{len(calls)}", tuple(shape)))

    monkeypatch.setattr("ppdiffusers.schedulers.scheduling_lcm.randn_tensor", noise)
    golden = np.load(GOLDEN / "unet_lora_drawn.npz")
    with fastdiffusers.accelerate(pipe, f"{method}:adapter={tmp_path}") as session:
        found = pipe("a red apple", seed=3, height=16, width=16, output_type="latent").latents
        (record,) = session.report()
        assert pipe.scheduler.timesteps.numpy().tolist() == golden[f"{name}/{sampler}/timesteps"].tolist()
    assert record.engaged and record.stats["steps"] == 4 and len(calls) == (3 if sampler == "lcm" else 0)
    close(found, golden[f"{name}/{sampler}"], 2e-5)
    # the file alone, without its card, is drawn with in the same way
    calls.clear()
    (tmp_path / CARD).unlink()
    with fastdiffusers.accelerate(pipe, f"{method}:adapter={tmp_path / WEIGHTS}"):
        again = pipe("a red apple", seed=3, height=16, width=16, output_type="latent").latents
    assert (again == found).all()


def seen_by(networks, family):
    """x, timesteps and conditions of two pictures, from the golden file of SDXL's steps."""
    golden = np.load(GOLDEN / "unet_lora_steps.npz")
    latents, text, pooled, guidance = (paddle.to_tensor(golden[n]) for n in ("latents", "text", "pooled", "guidance"))
    told = family.conditions(networks, text, pooled, guidance, (16, 16))
    level = paddle.to_tensor(np.linspace(999, 249, len(golden["latents"])).round().astype(np.float32))
    return latents, level, told


def test_a_discriminator_sees_what_a_unets_blocks_pass_on(student):
    """After the last block only the norm and the convolution to noise remain; nothing runs after what is looked at."""
    family, networks, _ = student("sdxl")
    x, level, told = seen_by(networks, family)
    unet = networks.teacher
    assert networks.places((0.0, 0.5, 0.5, 0.99, 1.0)) == (1, 3, 5)  # two down, the middle one, two up
    assert networks.widths((1, 3, 5)) == [8, 16, 8]
    first, middle, last = networks.features(x, level, told, (1, 3, 5), TEACHER)
    assert [part.shape[2] for part in (first, middle, last)] == networks.widths((1, 3, 5))
    maps = last.transpose([0, 2, 1]).reshape([x.shape[0], 8, *x.shape[2:]])
    predicted = unet.conv_out(paddle.nn.functional.silu(unet.conv_norm_out(maps)))
    close(predicted, networks.predict(TEACHER, x, level, told).numpy(), 1e-6)
    down = []
    hook = unet.down_blocks[-1].register_forward_post_hook(lambda layer, given, out: down.append(out[0]))
    wide = []
    second = unet.mid_block.register_forward_post_hook(lambda layer, given, out: wide.append(out))
    with pytest.MonkeyPatch.context() as patch:
        for block in unet.up_blocks:
            patch.setattr(block, "forward", None)  # not to be called
        (alone,) = networks.features(x, level, told, (3,), TEACHER)
    hook.remove(), second.remove()
    close(alone, middle.numpy(), 1e-7)
    close(alone, wide[0].flatten(2).transpose([0, 2, 1]).numpy(), 1e-7)
    assert down[0].shape[2:] == wide[0].shape[2:]
    (own,) = networks.features(x, level, told, (3,), STUDENT)
    assert float((own - middle).abs().max()) > 1e-3  # its adapter is in it
    own.square().mean().backward()
    grads = [value.grad for value in networks.parameters[STUDENT].values()]
    assert 0 < sum(grad is not None and float(grad.abs().sum()) > 0 for grad in grads) < len(grads)
    for block in (*unet.down_blocks, unet.mid_block, *unet.up_blocks):
        assert not block._forward_post_hooks


def test_a_recorded_graph_sees_the_same(pipelines):
    found = []
    for compile in (False, True):
        config = DistillConfig(true_guidance=True, rank=RANK, solver_steps=40, compile=compile)
        family = teacher_family(pipelines("sdxl").info)
        networks = family.roles(family.network(pipelines("sdxl")), config, compile)
        for path, layer in networks.bank.layers.items():
            layer.set_factors(STUDENT, *factors(path, layer.shape))
        found.append(networks.features(*seen_by(networks, family), (1, 3), STUDENT))
        networks.bank.remove()
    for eager, recorded in zip(*found, strict=True):
        close(recorded, eager.numpy(), 1e-5)


def test_gradients_through_what_is_seen_are_the_same_when_blocks_run_again(checkpoints):
    found = []
    for recompute in (False, True):
        config = DistillConfig(true_guidance=True, rank=RANK, solver_steps=40, recompute=recompute)
        pipe = fastdiffusers.load(checkpoints["sdxl"])  # one of its own: recomputing changes its layers
        family = teacher_family(pipe.info)
        networks = family.roles(family.network(pipe), config)
        for path, layer in networks.bank.layers.items():
            layer.set_factors(STUDENT, *factors(path, layer.shape))
        features = networks.features(*seen_by(networks, family), (1, 3), STUDENT)
        paddle.add_n([part.square().mean() for part in features]).backward()
        grads = {name: value.grad for name, value in networks.parameters[STUDENT].items()}
        found.append({name: grad.numpy() for name, grad in grads.items() if grad is not None})
    plain, again = found
    assert plain.keys() == again.keys() and len(plain) > 20
    for name, grad in plain.items():
        close(again[name], grad, 1e-4, name)


def test_a_shift_is_refused_where_levels_are_timesteps(checkpoints, tmp_path):
    (tmp_path / "lora.safetensors").touch()
    with pytest.raises(PlanError, match="shift=3 is of a flow's levels, and sdxl has timesteps: leave it out"):
        fastdiffusers.accelerate(
            fastdiffusers.load(checkpoints["sdxl"]), f"lcm:adapter={tmp_path / 'lora.safetensors'}:shift=3"
        )
