"""``fastdiff adapter``: what is listed, and files for other programs, read back by our own loader and used."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file

from fastdiffusers.distillation.adapter import CARD, WEIGHTS, AdapterCard, own_folder, write_card
from fastdiffusers.distillation.exporting import weight_shapes
from fastdiffusers.distillation.method import teacher_family
from fastdiffusers.models.info import describe
from fastdiffusers.weights.lora import LoraLayer, read_lora, write_lora


def linear_shapes(info) -> dict[str, tuple[int, int]]:
    """(in, out) of the base's linear layers."""
    return {path: shape[::-1] for path, shape in weight_shapes(teacher_family(info)).items()}


NAMES = ("transformer_blocks.0.attn.to_q", "transformer_blocks.0.attn.to_k", "single_transformer_blocks.0.proj_mlp")


def make(folder: Path, model: Path, steps: int = 2, **card: object) -> Path:
    """An adapter of three layers, two of them parts of fused ones."""
    info = describe(model)
    shapes = linear_shapes(info)
    rng = np.random.default_rng(0)
    layers = {}
    for rank, name in enumerate(NAMES, 2):
        inner, outer = shapes[name]
        down, up = (rng.standard_normal(shape).astype(np.float16) for shape in ((rank, inner), (outer, rank)))
        layers[name] = LoraLayer(down.astype(np.float32), up.astype(np.float32), 4.0)
    write_lora(folder / WEIGHTS, layers, {}, dtype="float32")
    values = {"method": "pcm", "base": info.name, "base_sha256": info.sha256, "rank": 4, "alpha": 4.0, **card}
    write_card(folder, AdapterCard(steps=steps, **values))
    return folder


@pytest.fixture
def own(fastdiff, tiny) -> Path:
    """An adapter where ``fastdiff distill`` puts it (``fastdiff`` sets the cache's place)."""
    info = describe(tiny)
    return make(own_folder(info.name, info.sha256, "pcm", 2), tiny, metrics={"distance": 0.25, "words": "x"})


def test_an_empty_list_says_how_to_get_one(fastdiff, monkeypatch, tmp_path):
    monkeypatch.setattr("fastdiffusers.distillation.listing.SHIPPED", tmp_path / "none")
    assert "`fastdiff distill flux-lightning` trains one" in fastdiff("adapter").stdout
    assert json.loads(fastdiff("adapter", "list", "--json").stdout) == {"adapters": []}


def test_own_and_shipped_ones_with_how_to_use_them(fastdiff, tiny, own, monkeypatch, tmp_path):
    shipped = tmp_path / "shipped"
    monkeypatch.setattr("fastdiffusers.distillation.listing.SHIPPED", shipped)
    for name, steps in (("pcm-2", 2), ("pcm-4", 4)):
        figures = {"rmse": 0.2918, "teacher_rmse": 0.4139, "saturation": 1.02, "diversity": 0.9656}
        make(shipped / "tiny" / name, tiny, steps, metrics=figures)
    (make(shipped / "tiny" / "pcm-8", tiny, 8) / CARD).write_text("{")
    found = json.loads(fastdiff("adapter", "list", "--json").stdout)["adapters"]
    assert [(item["name"], item["source"], item["use"]) for item in found] == [
        ("pcm-2", "own", "pcm:steps=2"),
        ("pcm-2", "shipped", f"pcm:adapter={shipped / 'tiny' / 'pcm-2'}"),  # the own one is found first
        ("pcm-4", "shipped", "pcm:steps=4"),
        ("pcm-8", "shipped", None),
    ]
    shown = fastdiff("adapter", "list").stdout
    shown = " ".join(shown.split())
    assert "distance 0.25" in shown and "rmse 0.29 (plain 0.41)" in shown and "saturation" not in shown
    assert found[0]["metrics"] == {"distance": 0.25, "words": "x"} and found[0]["folder"] == str(own)
    assert "is not readable JSON" in found[3]["problem"] and found[2]["problem"] is None
    shown = fastdiff("adapter", "ls")
    assert "distance 0.25" in shown.stdout and "pcm-8" not in shown.stdout
    assert "note: pcm-8 cannot be used" in shown.stderr


@pytest.mark.parametrize(("form", "kind"), [("kohya", "kohya"), ("diffusers", "fastdiffusers")])
def test_an_exported_file_changes_the_same_weights_by_the_same_amounts(fastdiff, tiny, own, form, kind):
    done = fastdiff("adapter", "export", "pcm-2", "--model", tiny, "--format", form, "--json")
    assert done.exit_code == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["out"] == f"pcm-2-{form}.safetensors"
    assert (report["layers"], report["rank"], report["steps"], report["guidance"]) == (3, 4, 2, [3.5, 3.5])
    shapes = linear_shapes(describe(tiny))
    before, after = read_lora(own / WEIGHTS, shapes), read_lora(report["out"], shapes)
    assert after.kind == kind and after.metadata["method"] == "pcm" and after.metadata["steps"] == "2"
    assert after.layers.keys() == before.layers.keys() == set(NAMES)
    for name, layer in before.layers.items():
        np.testing.assert_allclose(after.layers[name].delta(), layer.delta(), rtol=2e-3, atol=2e-3)
    keys = load_file(report["out"]).keys()
    assert all(key.startswith("lora_unet_" if form == "kohya" else "transformer.") for key in keys)


def test_the_scale_of_the_card_is_in_the_file(fastdiff, tiny, tmp_path):
    folder = make(tmp_path / "half", tiny, scale=0.5, shift=3.0)
    done = fastdiff("adapter", "export", folder, "--model", tiny, "--dtype", "float32", "--out", "x.safetensors")
    assert done.exit_code == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "wrote x.safetensors: 3 layers, rank 4, kohya keys, float32, for tiny"
    assert lines[1] == "use it at strength 1 with 2 steps of Euler, guidance 3.5, the scheduler's shift fixed at 3"
    shapes = linear_shapes(describe(tiny))
    before, after = (read_lora(file, shapes).layers for file in (folder / WEIGHTS, "x.safetensors"))
    for name, layer in before.items():
        np.testing.assert_allclose(after[name].delta(), 0.5 * layer.delta(), rtol=1e-5, atol=1e-6)
    with safe_open("x.safetensors", framework="np") as reader:
        assert {reader.get_slice(key).get_dtype() for key in reader.keys()} == {"F32"}  # noqa: SIM118
        assert reader.metadata()["shift"] == "3"


def test_a_lora_file_of_another_program_is_translated_there_and_back(fastdiff, tiny, tmp_path):
    folder = make(tmp_path / "adapter", tiny)
    shutil.copy(folder / WEIGHTS, tmp_path / "other.safetensors")
    words = ["--model", tiny, "--dtype", "float32", "--json"]
    first = json.loads(fastdiff("adapter", "export", "other.safetensors", *words).stdout)
    assert first["out"] == "other-kohya.safetensors" and first["steps"] is None
    again = fastdiff("adapter", "export", first["out"], *words, "--format", "diffusers", "--out", "back.safetensors")
    assert again.exit_code == 0, again.stderr
    shapes = linear_shapes(describe(tiny))
    before, after = (read_lora(file, shapes).layers for file in (folder / WEIGHTS, "back.safetensors"))
    for name, layer in before.items():
        np.testing.assert_allclose(after[name].delta(), layer.delta(), rtol=1e-5, atol=1e-6)


def test_pictures_with_the_exported_file_are_those_of_the_adapter(fastdiff, tiny, tmp_path):
    from PIL import Image

    folder = make(tmp_path / "adapter", tiny)
    fastdiff("adapter", "export", folder, "--model", tiny, "--dtype", "float32", "--out", "x.safetensors")
    pictures = []
    for words in (f"pcm:adapter={folder}", "pcm:adapter=x.safetensors:steps=2", None):
        accel = [] if words is None else ["--accel", words]
        done = fastdiff("infer", "a red apple", "--model", tiny, "--out", "a.png", *accel)
        assert done.exit_code == 0, done.stderr
        pictures.append(np.asarray(Image.open("a.png").convert("RGB")).astype(int))
    assert np.abs(pictures[0] - pictures[1]).max() <= 1
    assert np.abs(pictures[0] - pictures[2]).max() > 8


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nothing"], r"unknown adapter 'nothing'; valid: pcm-2; or a folder, or a \.safetensors file"),
        (["pcm-2"], r"belongs to 'tiny', which is not here; give its folder with --model"),
        (["pcm-2", "--model", "TINY", "--format", "comfy"], r"unknown --format 'comfy'; valid: diffusers, kohya"),
        (["pcm-2", "--model", "TINY", "--dtype", "int8"], r"unknown dtype 'int8'"),
        (["pcm-2", "--model", "TINY", "--out", "x.bin"], r"--out 'x.bin' must end in \.safetensors"),
        (["OWN", "--model", "TINY", "--out", "OWN/adapter.safetensors"], "would overwrite"),
        (["pcm-2", "--model", "flux-emoji"], "unknown adapter 'pcm-2'|valid:"),
        (["OWN", "--model", "flux-emoji"], "a layer that the base does not have|has the shape"),
        ([".", "--model", "TINY"], r"'\.' holds no adapter\.safetensors"),
        (["bad.safetensors", "--model", "TINY"], "truncated or no safetensors file"),
        (["pickle.pt", "--model", "TINY"], "is a pickle"),
        (["x" * 5000], "unknown adapter"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(fastdiff, tiny, own, tmp_path, monkeypatch, words, message):
    monkeypatch.setattr("fastdiffusers.distillation.listing.SHIPPED", tmp_path / "none")
    for name in ("bad.safetensors", "pickle.pt"):
        (tmp_path / name).write_bytes(b"no weights")
    kept = sorted(item.name for item in tmp_path.iterdir())
    done = fastdiff(
        "adapter", "export", *(str(word).replace("TINY", str(tiny)).replace("OWN", str(own)) for word in words)
    )
    assert done.exit_code == 2
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert re.search(message, line), line
    assert sorted(item.name for item in tmp_path.iterdir()) == kept


def test_another_base_of_the_same_shape_is_said(fastdiff, tiny, tmp_path):
    folder = make(tmp_path / "adapter", tiny, base="other", base_sha256="ab" * 32)
    done = fastdiff("adapter", "export", folder, "--model", tiny)
    assert done.exit_code == 0
    assert "note: the adapter was made for other (abababababab…), this is tiny" in done.stderr
