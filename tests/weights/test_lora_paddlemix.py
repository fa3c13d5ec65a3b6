"""PaddleMIX's FLUX-Lightning file: no alpha, rank 32, Paddle's orientation, trained at scale 0.25."""

import numpy as np
import pytest
from formula_weights import formula
from lora_layers import wide_shapes
from safetensors.numpy import load_file, save_file

from fastdiffusers.weights.lora import read_lora

NAME = "paddle_lora_weights.safetensors"
TARGETS = (
    *("attn.to_k", "attn.to_q", "attn.to_v", "attn.to_out.0"),
    *("attn.add_k_proj", "attn.add_q_proj", "attn.add_v_proj", "attn.to_add_out"),
    *("ff.net.0.proj", "ff.net.2", "ff_context.net.0.proj", "ff_context.net.2"),
)


def published(path, shapes, rank=32, header="pd", torch=False, targets=TARGETS, bits=False):
    """A file as its trainer's saving writes it; returns down [r, in] and up [out, r] of every layer."""
    tensors, factors = {}, {}
    for name, (inner, outer) in shapes.items():
        if name.endswith(tuple(f".{target}" for target in targets)):
            down, up = formula(f"{name}.A", (rank, inner)), formula(f"{name}.B", (outer, rank))
            if bits:
                down, up = ((part.view(np.uint32) & 0xFFFF0000).view(np.float32) for part in (down, up))
            factors[name] = down, up
            for key, part in (("A", down), ("B", up)):
                part = np.ascontiguousarray(part if torch else part.T)
                tensors[f"transformer.{name}.lora_{key}.weight"] = (
                    (part.view(np.uint32) >> 16).astype(np.uint16) if bits else part
                )
    save_file(tensors, path, {"format": header})
    return factors


def all_blocks(dim=64):
    """FLUX.1-dev's 19 double and 38 single blocks at a small width."""
    shapes = {}
    for name, shape in wide_shapes(dim).items():
        count = 38 if name.startswith("single_") else 19
        shapes |= {name.replace("blocks.0.", f"blocks.{index}."): shape for index in range(count)}
    return shapes


def check(found, factors, scale):
    assert found.layers.keys() == factors.keys()
    for name, (down, up) in factors.items():
        np.testing.assert_array_equal(found.layers[name].down, down)
        np.testing.assert_array_equal(found.layers[name].up, up)
        assert found.layers[name].scale == scale


def test_it_is_recognised_with_all_its_layers(tmp_path):
    shapes = all_blocks()
    factors = published(tmp_path / NAME, shapes)
    assert len(factors) == 19 * 12 + 38 * 3
    found = read_lora(tmp_path / NAME, shapes)
    check(found, factors, 0.25)
    assert found.kind == "ppdiffusers-lightning"
    assert found.note == (
        "recognised FLUX-Lightning of PaddleMIX (342 layers, rank 32, no alpha in the file): "
        "trained with alpha 8, scale 0.25"
    )


def test_at_full_width(tmp_path):
    shapes = wide_shapes()
    factors = published(tmp_path / NAME, shapes)
    assert len(factors) == 12 + 3
    check(read_lora(tmp_path / NAME, shapes), factors, 0.25)


def test_where_the_shapes_do_not_tell_the_orientation_the_other_layers_do(tmp_path):
    """At width 32 both factors of attention are square; the MLP's are not."""
    shapes = wide_shapes(32)
    for torch in (False, True):
        factors = published(tmp_path / NAME, shapes, torch=torch, header="pt" if torch else "pd")
        check(read_lora(tmp_path / NAME, shapes), factors, 0.25)
    factors = published(tmp_path / NAME, shapes, torch=True, header="pd")
    check(read_lora(tmp_path / NAME, shapes), factors, 0.25)


@pytest.mark.parametrize(("header", "torch"), [("pd", False), ("pt", True)])
def test_where_no_layer_tells_the_orientation_the_header_does(tmp_path, header, torch):
    shapes = wide_shapes(32)
    factors = published(tmp_path / NAME, shapes, torch=torch, header=header, targets=("attn.to_q",))
    check(read_lora(tmp_path / NAME, shapes), factors, 0.25)


def test_bfloat16_as_paddle_hands_it_to_numpy(tmp_path):
    shapes = wide_shapes(48)
    factors = published(tmp_path / NAME, shapes, bits=True)
    check(read_lora(tmp_path / NAME, shapes), factors, 0.25)


def test_another_rank_or_another_target_is_not_taken_for_it(tmp_path):
    shapes = wide_shapes(48)
    for arguments in ({"rank": 16}, {"targets": (*TARGETS, "proj_mlp")}):
        factors = published(tmp_path / NAME, shapes, **arguments)
        found = read_lora(tmp_path / NAME, shapes)
        check(found, factors, 1.0)
        assert found.kind == "ppdiffusers"
        assert "where its default of 8 was used, the true scale is 8 / rank" in found.note


def test_a_file_of_diffusers_with_the_same_layers_and_rank_keeps_scale_one(tmp_path):
    shapes = wide_shapes(48)
    factors = published(tmp_path / "pytorch_lora_weights.safetensors", shapes, torch=True, header="pt")
    found = read_lora(tmp_path / "pytorch_lora_weights.safetensors", shapes)
    check(found, factors, 1.0)
    assert found.kind == "diffusers"


def test_an_alpha_in_the_file_is_believed(tmp_path):
    shapes = wide_shapes(48)
    factors = published(tmp_path / NAME, shapes)
    tensors = load_file(tmp_path / NAME)
    tensors |= {f"transformer.{name}.alpha": np.array(32, np.float32) for name in factors}
    save_file(tensors, tmp_path / NAME, {"format": "pd"})
    check(read_lora(tmp_path / NAME, shapes), factors, 1.0)
