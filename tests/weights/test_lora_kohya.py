"""kohya's and ComfyUI's files: FLUX's fused layers, there and back, exactly."""

from dataclasses import replace

import numpy as np
import pytest
from formula_weights import formula
from lora_layers import lora_layers, wide_shapes
from safetensors.numpy import load_file, save_file

from fastdiffusers.errors import WeightsError
from fastdiffusers.weights.lora import LoraLayer, read_lora, write_kohya

DIM = 8
SHAPES = wide_shapes(DIM)
LAYERS = lora_layers(SHAPES)
Q, K, V = (f"transformer_blocks.0.attn.to_{word}" for word in "qkv")


def same(found, expected):
    assert found.keys() == expected.keys()
    for name, layer in expected.items():
        np.testing.assert_allclose(found[name].delta(), layer.delta(), rtol=1e-6, atol=1e-7)


def test_there_and_back(tmp_path):
    file = tmp_path / "x.safetensors"
    write_kohya(file, LAYERS, SHAPES, {"note": "words"}, "float32")
    found = read_lora(file, SHAPES)
    same(found.layers, LAYERS)
    assert found.kind == "kohya"
    assert found.metadata["note"] == "words"
    assert all(found.layers[name].rank == layer.rank for name, layer in LAYERS.items())


def test_keys_are_kohyas_and_fused_layers_are_blocks_on_the_diagonal(tmp_path):
    file = tmp_path / "x.safetensors"
    layers = {name: replace(LAYERS[name], alpha=2.0 * LAYERS[name].rank) for name in (Q, K, V)}
    write_kohya(file, layers, SHAPES, dtype="float32")
    tensors = load_file(file)
    stem = "lora_unet_double_blocks_0_img_attn_qkv"
    assert set(tensors) == {f"{stem}.lora_down.weight", f"{stem}.lora_up.weight", f"{stem}.alpha"}
    rank = layers[Q].rank
    up = tensors[f"{stem}.lora_up.weight"]
    assert up.shape == (3 * DIM, 3 * rank)
    np.testing.assert_array_equal(up[:DIM, :rank], layers[Q].up)
    np.testing.assert_array_equal(up[2 * DIM :, 2 * rank :], layers[V].up)
    assert not up[:DIM, rank:].any()
    np.testing.assert_array_equal(tensors[f"{stem}.lora_down.weight"][rank : 2 * rank], layers[K].down)
    assert tensors[f"{stem}.alpha"] == 6 * rank  # one scale of 2 for all: nothing is multiplied into the factors


@pytest.mark.parametrize("chosen", [(Q,), (K, V), ("single_transformer_blocks.0.proj_mlp",)])
def test_parts_of_a_fused_layer_alone(tmp_path, chosen):
    file = tmp_path / "x.safetensors"
    layers = {name: LAYERS[name] for name in chosen}
    write_kohya(file, layers, SHAPES, dtype="float32")
    same(read_lora(file, SHAPES).layers, layers)


def test_a_down_that_query_key_and_value_share(tmp_path):
    """What kohya's trainer writes: one dense up for all three."""
    file = tmp_path / "x.safetensors"
    whole = LoraLayer(formula("down", (4, DIM)), formula("up", (3 * DIM, 4)), 2.0)
    for stem in ("lora_unet_double_blocks_0_txt_attn_qkv", "diffusion_model.double_blocks.0.txt_attn.qkv"):
        tensors = {f"{stem}.lora_down.weight": whole.down, f"{stem}.lora_up.weight": whole.up}
        save_file(tensors | {f"{stem}.alpha": np.array(2, np.float16)}, file)
        found = read_lora(file, SHAPES).layers
        assert list(found) == [f"transformer_blocks.0.attn.add_{word}_proj" for word in "qkv"]
        delta = np.concatenate([layer.delta() for layer in found.values()])
        np.testing.assert_allclose(delta, whole.delta(), rtol=1e-6)
        assert all(layer.scale == 0.5 for layer in found.values())


def test_original_names_with_pefts_words(tmp_path):
    file = tmp_path / "x.safetensors"
    layer = LAYERS["single_transformer_blocks.0.norm.linear"]
    stem = "diffusion_model.single_blocks.0.modulation.lin"
    save_file({f"{stem}.lora_A.weight": layer.down, f"{stem}.lora_B.weight": layer.up}, file)
    found = read_lora(file, SHAPES)
    same(found.layers, {"single_transformer_blocks.0.norm.linear": replace(layer, alpha=float(layer.rank))})
    assert found.note == f"1 layer, rank {layer.rank}, no alpha in the file: scale 1"


def test_the_last_norms_halves_change_places(tmp_path):
    file = tmp_path / "x.safetensors"
    layer = replace(LAYERS["norm_out.linear"], alpha=1.0)
    write_kohya(file, {"norm_out.linear": layer}, SHAPES, dtype="float32")
    tensors = load_file(file)
    stem = "lora_unet_final_layer_adaLN_modulation_1"
    # the scale is in the factor, because diffusers drops this layer's alpha
    assert tensors[f"{stem}.alpha"] == layer.rank
    np.testing.assert_allclose(tensors[f"{stem}.lora_up.weight"][:DIM], layer.up[DIM:] * layer.scale, rtol=1e-6)
    np.testing.assert_allclose(tensors[f"{stem}.lora_up.weight"][DIM:], layer.up[:DIM] * layer.scale, rtol=1e-6)


def test_an_untrained_fused_layer_keeps_its_parts(tmp_path):
    file = tmp_path / "x.safetensors"
    stem = "lora_unet_double_blocks_0_img_attn_qkv"
    down = formula("down", (4, DIM))
    save_file({f"{stem}.lora_down.weight": down, f"{stem}.lora_up.weight": np.zeros((3 * DIM, 4), np.float32)}, file)
    found = read_lora(file, SHAPES).layers
    assert set(found) == {Q, K, V}
    assert not found[Q].delta().any()


def test_layers_without_a_kohya_name_and_no_layers(tmp_path):
    with pytest.raises(WeightsError, match=r"'other\.linear' has no name in kohya's files"):
        write_kohya(tmp_path / "x.safetensors", {"other.linear": LAYERS[Q]}, SHAPES)
    with pytest.raises(WeightsError, match="at least one layer"):
        write_kohya(tmp_path / "x.safetensors", {}, SHAPES)
    assert not list(tmp_path.iterdir())


def test_a_layer_under_two_names_is_refused(tmp_path):
    file = tmp_path / "x.safetensors"
    write_kohya(file, {Q: LAYERS[Q]}, SHAPES, dtype="float32")
    tensors = load_file(file)
    tensors |= {f"transformer.{Q}.lora_A.weight": LAYERS[Q].down, f"transformer.{Q}.lora_B.weight": LAYERS[Q].up}
    save_file(tensors, file)
    with pytest.raises(WeightsError, match=f"holds '{Q}' twice"):
        read_lora(file, SHAPES)
