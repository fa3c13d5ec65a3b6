"""``fastdiff merge``: which weights change by how much, that all else is the base's, and what is refused."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import fastdiffusers
from fastdiffusers.distillation.adapter import WEIGHTS, AdapterCard, write_card
from fastdiffusers.models.info import describe
from fastdiffusers.weights.in_place import add_to_tensors
from fastdiffusers.weights.lora import LoraLayer, write_lora
from fastdiffusers.weights.tensor_file import read_tensors, write_tensors

NAMES = ("transformer_blocks.0.attn.to_q", "single_transformer_blocks.0.proj_mlp")
FILE = "transformer/diffusion_pytorch_model.safetensors"


@pytest.fixture
def student(tiny, tmp_path) -> tuple[Path, dict[str, np.ndarray]]:
    """An adapter of two layers with a card, and what it adds to their weights."""
    info = describe(tiny)
    weights = load_file(tiny / FILE)
    rng = np.random.default_rng(0)
    layers = {}
    for name in NAMES:
        outer, inner = weights[f"{name}.weight"].shape
        down, up = (rng.standard_normal(shape).astype(np.float32) for shape in ((2, inner), (outer, 2)))
        layers[name] = LoraLayer(down, up, 1.0)
    write_lora(tmp_path / "student" / WEIGHTS, layers, {}, dtype="float32")
    card = AdapterCard("pcm", "tiny", info.sha256, 2, guidance_min=1.0, guidance_max=3.0, scale=0.5)
    write_card(tmp_path / "student", card)
    return tmp_path / "student", {name: layer.delta() for name, layer in layers.items()}


def files(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_the_adapter_is_in_the_weights_and_its_steps_are_the_models(fastdiff, tiny, student, tmp_path):
    place, deltas = student
    out = tmp_path / "merged"
    done = fastdiff("merge", place, "--model", tiny, "--out", out, "--scale", "2", "--json")
    assert done.exit_code == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["weights"], report["scale"], report["steps"], report["scheduler"]) == (2, 1.0, 2, None)
    before, after = load_file(tiny / FILE), load_file(out / FILE)
    assert before.keys() == after.keys()
    for key, value in before.items():
        delta = deltas.get(key.removesuffix(".weight"), 0.0)
        np.testing.assert_allclose(after[key], value + delta, atol=1e-6, err_msg=key)  # the card's 0.5 times 2
    old, new = files(tiny), files(out)
    assert {name for name in old if old[name] != new[name]} == {FILE}
    assert new.keys() - old.keys() <= {"fastdiff.json"}
    info = describe(out)
    assert (info.default_setting.steps, info.default_setting.guidance) == (2, 3.0)
    assert info.default_setting.height == describe(tiny).default_setting.height
    drawn = fastdiff("infer", "a cat", "--model", out, "--json")
    assert json.loads(drawn.stdout)["settings"]["steps"] == 2
    assert fastdiff("merge", place, "--model", tiny, "--out", out).stderr.count("exists; a new folder is needed") == 1


def test_levels_of_the_students_own_become_the_schedulers(fastdiff, tiny, student, tmp_path):
    place, _ = student
    card = AdapterCard("pcm", "tiny", describe(tiny).sha256, 2, shift=3.0)
    write_card(place, card)
    done = fastdiff("merge", place, "--model", tiny, "--out", tmp_path / "merged", "--json")
    report = json.loads(done.stdout)
    assert (report["scheduler"], report["shift"]) == ("FlowMatchEulerDiscreteScheduler", 3.0)
    settings = describe(tmp_path / "merged").scheduler()
    assert (settings["shift"], settings["use_dynamic_shifting"]) == (3.0, False)
    drawn, plain = (fastdiffusers.load(folder) for folder in (tmp_path / "merged", tiny))
    with fastdiffusers.accelerate(plain, f"pcm:adapter={place}"):
        expected = plain("a cat", seed=1, guidance_scale=3.5, output_type="latent").latents
        levels = plain.scheduler.sigmas
    found = drawn("a cat", seed=1, num_inference_steps=2, output_type="latent").latents
    np.testing.assert_array_equal(drawn.scheduler.sigmas, levels)
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())


def test_a_whole_student_takes_the_networks_place(fastdiff, tiny, tmp_path):
    weights = {key: value + np.float32(0.5) for key, value in load_file(tiny / FILE).items()}
    shutil.copytree(tiny / "transformer", tmp_path / "student" / "transformer")
    save_file(weights, tmp_path / "student" / FILE, metadata={"format": "pt"})
    recipe = {"method": "pcm", "train": "full", "phases": 3, "guidance_min": 2.0, "guidance_max": 2.0}
    (tmp_path / "student" / "result.json").write_text(json.dumps({"training": {"recipe": recipe}}))
    done = fastdiff("merge", tmp_path / "student", "--model", tiny, "--out", tmp_path / "merged")
    assert done.exit_code == 0 and "wrote" in done.stdout and "the student's whole transformer" in done.stdout
    assert "draws in 3 steps of the base's scheduler" in done.stdout
    after = load_file(tmp_path / "merged" / FILE)
    assert all((after[key] == value).all() for key, value in weights.items())
    setting = describe(tmp_path / "merged").default_setting
    assert (setting.steps, setting.guidance) == (3, 2.0)
    refused = fastdiff("merge", tmp_path / "student", "--model", tiny, "--out", tmp_path / "b", "--scale", "0.5")
    assert refused.exit_code == 2 and "which no scale (0.5) applies to" in refused.stderr


def test_a_file_without_a_card_says_nothing_of_steps(fastdiff, tiny, student, tmp_path):
    file = shutil.copy(student[0] / WEIGHTS, tmp_path / "lora.safetensors")
    done = fastdiff("merge", file, "--model", tiny, "--out", tmp_path / "merged")
    assert done.exit_code == 0 and "a LoRA file says nothing of steps and scheduler" in done.stdout
    assert describe(tmp_path / "merged").default_setting == describe(tiny).default_setting


@pytest.mark.parametrize(
    ("change", "words", "said"),
    [
        ("sampler", (), "the student draws by the sampler lcm, which no stock scheduler of FLUX is"),
        ("layers", (), "a layer that the base lacks"),
        ("outline", ("--model", "FLUX.1-dev"), "only the configuration is here"),
        ("nothing", (), "unknown adapter"),
    ],
)
def test_refusals_are_one_line_and_leave_nothing(fastdiff, tiny, student, tmp_path, change, words, said):
    place, _ = student
    if change == "sampler":
        write_card(place, AdapterCard("lcm", "tiny", describe(tiny).sha256, 4, "lcm"))
    if change == "layers":
        write_lora(place / WEIGHTS, {"blocks.7": LoraLayer(np.ones((1, 4)), np.ones((4, 1)), 1.0)}, {})
    if change == "nothing":
        place = Path("nowhere")
    out = tmp_path / "out" / "merged"
    done = fastdiff("merge", place, *(words or ("--model", tiny)), "--out", out)
    assert done.exit_code == 2 and done.stderr.count("\n") == 1
    assert said in done.stderr or change == "layers", done.stderr
    assert not out.exists() and not (list(out.parent.iterdir()) if out.parent.exists() else [])


@pytest.mark.parametrize(("dtype", "error"), [("float32", 0.0), ("bfloat16", 4e-3), ("float16", 5e-4)])
def test_tensors_are_changed_where_they_lie_in_their_dtype(tmp_path, dtype, error):
    rng = np.random.default_rng(0)
    tensors = {name: rng.standard_normal((3, 5)).astype(np.float32) for name in "abc"}
    file = tmp_path / "x.safetensors"
    write_tensors(file, tensors, {"format": "pd"}, dict.fromkeys(tensors, dtype))
    before, _ = read_tensors(file)
    size = file.stat().st_size
    seen = []

    def change(name, shape, paddle_side):
        seen.append((name, shape, paddle_side))
        return np.full(shape, 0.25, np.float32) if name == "b" else None

    assert add_to_tensors(file, change) == ["b"]
    assert seen == [(name, (3, 5), True) for name in "abc"] and file.stat().st_size == size
    after, metadata = read_tensors(file)
    assert metadata == {"format": "pd"}
    for name, value in before.items():
        expected = value + 0.25 if name == "b" else value
        assert np.abs(after[name] - expected).max() <= error * np.abs(expected).max(), name
