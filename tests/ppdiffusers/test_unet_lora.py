"""LCM-LoRA files: the published keys and shapes, convolutions, and what is refused."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from fastdiffusers.errors import WeightsError
from fastdiffusers_ppdiffusers.unet_lora import read_unet_lora

GOLDEN = Path(__file__).parents[1] / "golden"
SHAPES = {
    "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q": (6, 4),
    "down_blocks.0.resnets.0.conv1": (6, 4, 3, 3),
    "down_blocks.0.attentions.0.proj_in": (4, 4, 1, 1),
}


def tensors(shapes, rank=2, form="lora_unet_{}.lora_{}.weight", alpha=None, seed=0):
    """Random pairs under kohya's keys, or another ``form``."""
    rng = np.random.default_rng(seed)
    found = {}
    for path, shape in shapes.items():
        name = path.replace(".", "_") if form.startswith("lora_unet") else path
        words = ("down", "up") if "lora_{}" in form else ("A", "B")
        one = (1,) * (len(shape) - 2)
        for word, size in zip(words, ((rank, *shape[1:]), (shape[0], rank, *one)), strict=True):
            found[form.format(name, word)] = rng.standard_normal(size).astype(np.float32)
        if alpha is not None:
            found[f"lora_unet_{name}.alpha"] = np.asarray(alpha, np.float32)
    return found


def test_convolutions_and_linear_layers_are_changed_as_torch_would(tmp_path):
    pairs = tensors(SHAPES, alpha=8.0)
    save_file(pairs, tmp_path / "lora.safetensors")
    lora = read_unet_lora(tmp_path / "lora.safetensors", SHAPES)
    assert lora.layers.keys() == SHAPES.keys() and lora.note == "3 layers, rank 2, scale 4"
    for path, shape in SHAPES.items():
        down, up = (pairs[f"lora_unet_{path.replace('.', '_')}.lora_{word}.weight"] for word in ("down", "up"))
        # of a convolution: up's 1 × 1 one after down's, for every place of its window
        expected = 4.0 * np.einsum("or,ri...->oi...", up.reshape(shape[0], 2), down)
        # numpy's own assertion fails here once np.bool has become Python's bool, as imports in this environment make it
        assert np.abs(lora.delta(path, shape) - expected).max() <= 1e-5 * np.abs(expected).max()


@pytest.mark.parametrize("form", ["unet.{}.lora_{}.weight", "base_model.model.{}.lora_{}.weight"])
def test_diffusers_keys_are_known_and_without_alpha_the_scale_is_1(tmp_path, form):
    save_file(tensors(SHAPES, form=form), tmp_path / "lora.safetensors")
    lora = read_unet_lora(tmp_path / "lora.safetensors", SHAPES)
    assert lora.layers.keys() == SHAPES.keys() and lora.note == "3 layers, rank 2, scale 1, no alpha in the file"


def test_a_convolution_of_one_may_be_kept_as_a_matrix(tmp_path):
    path, shape = "down_blocks.0.attentions.0.proj_in", (4, 4, 1, 1)
    save_file(tensors({path: (4, 4)}), tmp_path / "lora.safetensors")
    assert read_unet_lora(tmp_path / "lora.safetensors", {path: shape}).delta(path, shape).shape == shape


@pytest.mark.parametrize(("name", "count"), [("sd15", 278), ("sdxl", 788)])
def test_the_published_layouts_are_read(tmp_path, name, count):
    """All keys of the real files, at rank 1 of their 64."""
    shapes = {path: tuple(shape) for path, shape in json.loads((GOLDEN / f"lcm_lora_{name}.json").read_text()).items()}
    pairs = {key: value.astype(np.float16) for key, value in tensors(shapes, rank=1, alpha=1.0).items()}
    save_file(pairs, tmp_path / "pytorch_lora_weights.safetensors")
    lora = read_unet_lora(tmp_path / "pytorch_lora_weights.safetensors", shapes)
    assert lora.layers.keys() == shapes.keys() and len(shapes) == count
    assert lora.note == f"{count} layers, rank 1, scale 1"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"lora_unet_down_blocks_0_nets_0_conv1.lora_up.weight": (6, 2)}, "the UNet does not have; the closest is"),
        ({"lora_te_text_model_encoder_layers_0_mlp_fc1.lora_up.weight": (2, 2)}, "changes a text encoder"),
        ({"lora_unet_down_blocks_0_resnets_0_conv1.lora_up.weight": None}, "its down has no up"),
        (
            {"lora_unet_down_blocks_0_resnets_0_conv1.lora_up.weight": (6, 3, 1, 1)},
            "valid for a weight [6, 4, 3, 3]: [r",
        ),
        ({"lora_unet_down_blocks_0_resnets_0_conv1.lora_down.weight": (2, 36)}, "[r, 4, 3, 3] and [6, r, 1, 1]"),
        ({"lora_unet_down_blocks_0_resnets_0_conv1.alpha": (2,)}, "valid: one number"),
        ({"lora_unet_down_blocks_0_resnets_0_conv1.weight": (2,)}, "is no part of a LoRA"),
    ],
)
def test_what_does_not_fit_is_said_in_one_line(tmp_path, change, said):
    pairs = tensors(SHAPES, alpha=2.0)
    for key, shape in change.items():
        pairs.pop(key, None)
        if shape is not None:
            pairs[key] = np.ones(shape, np.float32)
    save_file(pairs, tmp_path / "lora.safetensors")
    with pytest.raises(WeightsError) as refused:
        read_unet_lora(tmp_path / "lora.safetensors", SHAPES)
    assert said in str(refused.value) and "\n" not in str(refused.value)
