"""LoRA files against diffusers and peft: the same file gives the same velocity and the same latents on both sides."""

import zlib
from pathlib import Path

import numpy as np
import paddle
import pytest
from formula_weights import formula, ids
from lora_layers import in_small_kohya, lora_layers, probes, wide_shapes
from paddle import nn
from safetensors.numpy import load_file

from fastdiffusers.models.info import describe
from fastdiffusers.pipelines.flux import FluxPipeline
from fastdiffusers.weights.lora import read_lora, write_kohya, write_lora

GOLDEN = Path(__file__).parents[1] / "golden"
FOLDER = GOLDEN / "lora"


@pytest.fixture
def pipe():
    return FluxPipeline.from_pretrained(describe(GOLDEN / "flux_pipeline" / "dev"))


def shapes_of(transformer):
    return {n: tuple(m.weight.shape) for n, m in transformer.named_sublayers() if isinstance(m, nn.Linear)}


def merge(transformer, layers):
    linear = dict(transformer.named_sublayers())
    for name, layer in layers.items():
        weight = linear[name].weight
        weight.set_value(weight + paddle.to_tensor(np.ascontiguousarray(layer.delta().T)))


def compare(pipe, name):
    golden = np.load(FOLDER / "outputs.npz")
    config = pipe.transformer.config
    feed = {
        "hidden_states": formula("hidden_states", (1, 6, config.in_channels), 1.0),
        "encoder_hidden_states": formula("encoder_hidden_states", (1, 5, config.joint_attention_dim), 1.0),
        "pooled_projections": formula("pooled_projections", (1, config.pooled_projection_dim), 1.0),
        "timestep": np.array([0.7], np.float32),
        "guidance": np.array([3.5], np.float32),
    }
    with paddle.no_grad():
        feed = {key: paddle.to_tensor(value) for key, value in feed.items()}
        velocity = pipe.transformer(**feed, image_rotary_emb=pipe.transformer.rope(*ids(5, 2, 3))).numpy()
    np.testing.assert_allclose(velocity, golden[f"{name}.velocity"], atol=1e-5)
    drawn = pipe(
        "a red apple", height=24, width=32, num_inference_steps=4, guidance_scale=3.5, seed=5, output_type="latent"
    )
    np.testing.assert_allclose(drawn.latents, golden[f"{name}.latents"], atol=2e-5)


def test_ours_in_diffusers_gives_the_same_picture(pipe, tmp_path):
    shapes = shapes_of(pipe.transformer)
    write_lora(tmp_path / "x.safetensors", lora_layers(shapes), {"made_by": "make_lora.py"}, "float32")
    assert (tmp_path / "x.safetensors").read_bytes() == (FOLDER / "ours.safetensors").read_bytes()
    file = read_lora(FOLDER / "ours.safetensors", shapes)
    assert file.kind == "fastdiffusers"
    assert file.metadata["made_by"] == "make_lora.py"
    merge(pipe.transformer, file.layers)
    compare(pipe, "ours")


def test_our_kohya_file_in_diffusers_gives_the_same_picture(pipe, tmp_path):
    shapes = shapes_of(pipe.transformer)
    layers = {name: layer for name, layer in lora_layers(shapes).items() if in_small_kohya(name)}
    write_kohya(tmp_path / "x.safetensors", layers, shapes, dtype="float32")
    approved = load_file(FOLDER / "kohya.safetensors")
    for key, value in load_file(tmp_path / "x.safetensors").items():
        np.testing.assert_array_equal(value, approved.pop(key))
    assert not approved
    file = read_lora(FOLDER / "kohya.safetensors", shapes)
    assert file.kind == "kohya"
    merge(pipe.transformer, file.layers)
    compare(pipe, "kohya")


def test_what_diffusers_saves_of_peft_gives_the_same_picture(pipe):
    file = read_lora(FOLDER / "peft.safetensors", shapes_of(pipe.transformer))
    assert file.kind == "diffusers"
    assert {(layer.rank, layer.alpha) for layer in file.layers.values()} == {(4, 6.0), (2, 5.0), (4, 3.0)}
    merge(pipe.transformer, file.layers)
    compare(pipe, "peft")


def test_diffusers_converter_reads_our_kohya_file_at_full_width(tmp_path):
    """Every kind of layer at FLUX.1's sizes, the swapped last norm, ranks and alphas that differ within one layer."""
    golden = dict(np.load(FOLDER / "wide.npz"))
    shapes = wide_shapes()
    layers = lora_layers(shapes)
    write_kohya(tmp_path / "x.safetensors", layers, shapes, dtype="float32")
    for key, value in load_file(tmp_path / "x.safetensors").items():
        assert zlib.crc32(value) == golden.pop(f"crc of {key}")
    again = read_lora(tmp_path / "x.safetensors", shapes).layers
    for name, shape in shapes.items():
        left, right = probes(name, shape)
        expected = golden.pop(name)
        for layer in (layers[name], again[name]):
            ours = layer.scale * np.einsum("ko,or,ri,ki->k", left, layer.up, layer.down, right, optimize=True)
            np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-5)
    assert not golden
