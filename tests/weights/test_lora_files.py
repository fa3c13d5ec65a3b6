"""LoRA files of all writers mean the same layers, and each says the scale that it was trained with."""

import json
import subprocess
import sys

import numpy as np
import pytest
from lora_layers import lora_layers, wide_shapes
from safetensors.numpy import load_file, save_file

from fastdiffusers.errors import InputError, WeightsError
from fastdiffusers.weights.lora import LoraLayer, read_lora, write_lora

SHAPES = wide_shapes(8)
LAYERS = lora_layers(SHAPES)
WORDS = {"peft": ("lora_A", "lora_B"), "named": ("lora_A.default", "lora_B.default"), "old": ("lora.down", "lora.up")}


def save(path, layers, prefix="transformer.", words="peft", alpha=True, dtype=np.float32, metadata=None):
    down, up = WORDS[words]
    tensors = {}
    for name, layer in layers.items():
        tensors[f"{prefix}{name}.{down}.weight"] = layer.down.astype(dtype)
        tensors[f"{prefix}{name}.{up}.weight"] = layer.up.astype(dtype)
        if alpha:
            tensors[f"{prefix}{name}.alpha"] = np.array(layer.alpha, dtype)
    save_file(tensors, path, metadata)


def same(found, expected, rtol=1e-6):
    assert found.keys() == expected.keys()
    for name, layer in expected.items():
        np.testing.assert_allclose(found[name].delta(), layer.delta(), rtol=rtol, atol=rtol)


def test_a_layers_change_is_scaled_by_alpha_over_rank():
    layer = LoraLayer(np.array([[1, 2, 3], [0, 1, 0]], np.float32), np.array([[1, 0], [0, 4]], np.float32), 6.0)
    np.testing.assert_array_equal(layer.delta(), [[3, 6, 9], [0, 12, 0]])
    assert layer.delta().dtype == np.float32
    tall = LoraLayer(layer.down, np.arange(1200, dtype=np.float32).reshape(600, 2), 1.0)
    np.testing.assert_allclose(tall.delta(), 0.5 * tall.up @ tall.down)


@pytest.mark.parametrize("prefix", ["transformer.", "", "diffusion_model.", "base_model.model."])
@pytest.mark.parametrize("words", list(WORDS))
def test_diffusers_keys_new_and_old(tmp_path, prefix, words):
    file = tmp_path / "x.safetensors"
    save(file, LAYERS, prefix, words)
    found = read_lora(file, SHAPES)
    same(found.layers, LAYERS)
    assert found.kind == ("diffusers-old" if words == "old" else "diffusers")
    assert {name: layer.alpha for name, layer in found.layers.items()} == {n: la.alpha for n, la in LAYERS.items()}


def test_without_alpha_the_scale_is_one_and_the_note_says_so(tmp_path):
    file = tmp_path / "x.safetensors"
    save(file, LAYERS, alpha=False)
    found = read_lora(file, SHAPES)
    assert {layer.scale for layer in found.layers.values()} == {1.0}
    assert found.note == f"{len(LAYERS)} layers, rank 2 to 4, no alpha in the file: scale 1"


HEADER = {
    "transformer.r": 4,
    "transformer.lora_alpha": 6,
    "transformer.alpha_pattern": {"attn.to_q": 1, "^transformer_blocks.0.ff.net.2": 3, "embedder": 9, "proj_out": 2},
}


def test_alphas_of_diffusers_header_go_to_the_layers_they_name(tmp_path):
    file = tmp_path / "x.safetensors"
    save(file, LAYERS, alpha=False, metadata={"lora_adapter_metadata": json.dumps(HEADER)})
    layers = read_lora(file, SHAPES).layers
    assert layers["transformer_blocks.0.attn.to_q"].alpha == 1
    assert layers["transformer_blocks.0.attn.to_k"].alpha == 6
    assert layers["transformer_blocks.0.ff.net.2"].alpha == 3
    assert layers["transformer_blocks.0.ff_context.net.2"].alpha == 6
    assert layers["x_embedder"].alpha == 6
    assert layers["proj_out"].alpha == layers["single_transformer_blocks.0.proj_out"].alpha == 2


def test_rank_stabilised_files_divide_by_the_root_of_the_rank(tmp_path):
    file = tmp_path / "x.safetensors"
    header = {"r": 4, "lora_alpha": 6, "use_rslora": True}
    save(file, LAYERS, alpha=False, metadata={"lora_adapter_metadata": json.dumps(header)})
    for layer in read_lora(file, SHAPES).layers.values():
        assert layer.scale == pytest.approx(6 / np.sqrt(layer.rank))


def test_alpha_tensors_come_before_the_header(tmp_path):
    file = tmp_path / "x.safetensors"
    save(file, LAYERS, metadata={"lora_adapter_metadata": json.dumps(HEADER)})
    same(read_lora(file, SHAPES).layers, LAYERS)


def test_pefts_own_folder_has_its_alpha_beside_the_file(tmp_path):
    file = tmp_path / "adapter_model.safetensors"
    save(file, LAYERS, prefix="base_model.model.", alpha=False)
    (tmp_path / "adapter_config.json").write_text('{"r": 4, "lora_alpha": 12}')
    assert {layer.alpha for layer in read_lora(file, SHAPES).layers.values()} == {12.0}
    save(file, LAYERS, alpha=False)
    assert read_lora(file, SHAPES).layers["proj_out"].scale == 1.0


@pytest.mark.parametrize(("dtype", "rtol"), [("float32", 1e-7), ("float16", 2e-3), ("bfloat16", 2e-2)])
def test_written_and_read_again(tmp_path, dtype, rtol):
    file = tmp_path / "x.safetensors"
    write_lora(file, LAYERS, {"note": "words"}, dtype)
    found = read_lora(file, SHAPES)
    assert found.kind == "fastdiffusers"
    assert found.metadata["note"] == "words"
    for name, layer in LAYERS.items():
        error = np.abs(found.layers[name].delta() - layer.delta()).max() / np.abs(layer.delta()).max()
        assert error < rtol
    if dtype != "float32":
        assert file.stat().st_size < 0.75 * 4 * sum(la.down.size + la.up.size for la in LAYERS.values()) + 10_000


def test_bfloat16_is_rounded_to_nearest_and_ties_to_even(tmp_path):
    file = tmp_path / "x.safetensors"
    values = np.zeros((1, 64), np.float32)
    values[0, :4] = 1 + 1 / 256, 1 + 3 / 256, 1 + 1.01 / 256, -3.1415927
    write_lora(file, {"x_embedder": LoraLayer(values, np.ones((8, 1), np.float32), 1.0)}, {}, "bfloat16")
    found = read_lora(file, SHAPES).layers["x_embedder"].down
    np.testing.assert_array_equal(found[0, :4], [1, 1 + 4 / 256, 1 + 2 / 256, -3.140625])


def test_a_file_has_one_alpha_beside_every_layer_and_in_the_header(tmp_path):
    """Because diffusers takes proj_out's alpha for every layer whose name ends so."""
    file = tmp_path / "x.safetensors"
    assert len({layer.alpha for layer in LAYERS.values()}) > 1
    write_lora(file, LAYERS, {}, "float32")
    tensors = load_file(file)
    assert {key.rpartition(".")[0] for key in tensors if key.endswith(".alpha")} == {f"transformer.{n}" for n in LAYERS}
    alphas = {float(value) for key, value in tensors.items() if key.endswith(".alpha")}
    assert len(alphas) == 1
    found = read_lora(file, SHAPES)
    assert json.loads(found.metadata["fastdiffusers_lora"]) == {"alpha": alphas.pop(), "ranks": [2, 3, 4]}
    assert "lora_adapter_metadata" not in found.metadata


def test_our_alpha_survives_tools_that_drop_alpha_tensors(tmp_path):
    file = tmp_path / "x.safetensors"
    write_lora(file, {"x_embedder": LAYERS["x_embedder"]}, {}, "float32")
    header = read_lora(file, SHAPES).metadata
    save_file({key: value for key, value in load_file(file).items() if not key.endswith("alpha")}, file, header)
    same(read_lora(file, SHAPES).layers, {"x_embedder": LAYERS["x_embedder"]})


def test_a_failed_write_leaves_the_older_file(tmp_path):
    file = tmp_path / "x.safetensors"
    file.write_bytes(b"older")
    huge = LoraLayer(np.full((1, 64), 1e6, np.float32), np.ones((8, 1), np.float32), 1.0)
    with pytest.raises(WeightsError, match=r"has 1e\+06, which float16 cannot hold; valid: float32, bfloat16"):
        write_lora(file, {"x_embedder": huge}, {})
    with pytest.raises(WeightsError, match="NaN or infinite"):
        write_lora(file, {"x_embedder": LoraLayer(huge.down * np.nan, huge.up, 1.0)}, {})
    with pytest.raises(WeightsError, match="at least one layer"):
        write_lora(file, {}, {})
    with pytest.raises(WeightsError, match="entry 'lora_adapter_metadata' is written here"):
        write_lora(file, LAYERS, {"lora_adapter_metadata": "{}"})
    with pytest.raises(InputError, match="unknown dtype 'int8'"):
        write_lora(file, LAYERS, {}, "int8")
    assert file.read_bytes() == b"older"
    assert list(tmp_path.iterdir()) == [file]


def test_text_encoders_that_change_nothing_are_ignored(tmp_path):
    file = tmp_path / "x.safetensors"
    save(file, LAYERS)
    tensors = load_file(file)
    tensors["lora_te1_text_model_encoder_layers_0_mlp_fc1.lora_down.weight"] = np.ones((2, 5), np.float32)
    tensors["lora_te1_text_model_encoder_layers_0_mlp_fc1.lora_up.weight"] = np.zeros((3, 2), np.float32)
    save_file(tensors, file)
    found = read_lora(file, SHAPES)
    same(found.layers, LAYERS)
    assert found.note.endswith(
        "; 1 layer of text encoders ignored, all zero, the first 'lora_te1_text_model_encoder_layers_0_mlp_fc1'"
    )


def test_onetrainers_names(tmp_path):
    file = tmp_path / "x.safetensors"
    name = "transformer_blocks.0.attn.to_out.0"
    layer = LAYERS[name]
    stem = "lora_transformer_transformer_blocks_0_attn_to_out_0"
    tensors = {f"{stem}.lora_down.weight": layer.down, f"{stem}.lora_up.weight": layer.up}
    save_file(tensors | {f"{stem}.alpha": np.array(layer.alpha, np.float32)}, file)
    same(read_lora(file, SHAPES).layers, {name: layer})


def test_reading_needs_no_paddle():
    code = "import sys, fastdiffusers.weights.lora; sys.exit('paddle' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
