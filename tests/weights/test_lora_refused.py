"""What is no LoRA of this base is refused in one line that names the key, what is wrong and what is valid."""

import json

import numpy as np
import pytest
from lora_layers import lora_layers, wide_shapes
from safetensors.numpy import load_file, save_file

from fastdiffusers.errors import WeightsError
from fastdiffusers.weights.lora import read_lora, write_lora

SHAPES = wide_shapes(8)
Q = "transformer.transformer_blocks.0.attn.to_q"


@pytest.fixture
def file(tmp_path):
    write_lora(tmp_path / "x.safetensors", lora_layers(SHAPES), {}, "float32")
    return tmp_path / "x.safetensors"


def refused(file, *messages):
    with pytest.raises(WeightsError) as caught:
        read_lora(file, SHAPES)
    for message in messages:
        assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def another_base(tensors):
    tensors[Q.replace(".0.", ".1.") + ".lora_A.weight"] = tensors[f"{Q}.lora_A.weight"]
    tensors[Q.replace(".0.", ".1.") + ".lora_B.weight"] = tensors[f"{Q}.lora_B.weight"]


def half(tensors):
    del tensors[f"{Q}.lora_B.weight"]


def alpha_alone(tensors):
    del tensors[f"{Q}.lora_A.weight"], tensors[f"{Q}.lora_B.weight"]


def other_width(tensors):
    tensors[f"{Q}.lora_A.weight"] = tensors[f"{Q}.lora_A.weight"][:, :5].copy()


def other_rank(tensors):
    tensors[f"{Q}.lora_A.weight"] = np.ones((7, 8), np.float32)


def no_rank(tensors):
    tensors[f"{Q}.lora_A.weight"] = np.ones((0, 8), np.float32)
    tensors[f"{Q}.lora_B.weight"] = np.ones((8, 0), np.float32)


def turned(tensors):
    for key in ("lora_A", "lora_B"):
        name = f"transformer.transformer_blocks.0.ff.net.0.proj.{key}.weight"
        tensors[name] = tensors[name].T.copy()


def convolution(tensors):
    tensors[f"{Q}.lora_A.weight"] = tensors[f"{Q}.lora_A.weight"][..., None, None]


def nan(tensors):
    tensors[f"{Q}.lora_B.weight"][0] = np.nan


def integers(tensors):
    tensors[f"{Q}.lora_B.weight"] = tensors[f"{Q}.lora_B.weight"].astype(np.int8)


def bits_without_a_reason(tensors):
    tensors[f"{Q}.lora_B.weight"] = tensors[f"{Q}.lora_B.weight"].astype(np.uint16)


def alphas(tensors):
    tensors[f"{Q}.alpha"] = np.ones(3, np.float32)


def dora(tensors):
    tensors[f"{Q}.lora_magnitude_vector"] = np.ones(8, np.float32)


def both_words(tensors):
    tensors[f"{Q}.lora.down.weight"] = tensors[f"{Q}.lora_A.weight"]


def text_encoder(tensors):
    stem = "text_encoder.text_model.encoder.layers.0.self_attn.q_proj"
    tensors[f"{stem}.lora_A.weight"] = tensors[f"{stem}.lora_B.weight"] = np.ones((2, 2), np.float32)


@pytest.mark.parametrize(
    ("change", "messages"),
    [
        (
            another_base,
            (
                "holds 'transformer.transformer_blocks.1.attn.to_q.lora_A.weight', a layer that the base does not have",
                "the layers of its 1 double block and 1 single block",
                "the closest is 'transformer_blocks.0.attn.to_q'",
            ),
        ),
        (half, (f"holds '{Q}.lora_A.weight', but not the layer's lora_B or lora_up",)),
        (alpha_alone, (f"holds '{Q}.alpha', but not the layer's lora_A or lora_down",)),
        (other_width, (f"'{Q}.lora_A.weight' in", "has the shape [", ", 5]", ": [r, 8] and [8, r]")),
        (other_rank, ("has the shape [7, 8] and its other half [8, ", ": [r, 8] and [8, r]")),
        (no_rank, ("has the shape [0, 8]",)),
        (turned, ("'transformer.transformer_blocks.0.ff.net.0.proj.lora_A.weight'", ": [r, 8] and [32, r]")),
        (convolution, ("has the shape [",)),
        (nan, (f"'{Q}.lora_B.weight'", "values that are NaN or infinite")),
        (integers, (f"'{Q}.lora_B.weight'", "is I8; weights are F32, F16, BF16 or F64")),
        (bits_without_a_reason, ("is U16; weights are",)),
        (alphas, (f"'{Q}.alpha'", "has the shape [3]; valid: one number")),
        (dora, (f"holds '{Q}.lora_magnitude_vector', which is no part of a LoRA; valid: LAYER.lora_A.weight",)),
        (both_words, ("holds both", "one of them is needed")),
        (text_encoder, ("1 layer of text encoders; valid: a LoRA of the transformer alone",)),
        (lambda tensors: tensors.clear(), ("holds no layer of a transformer",)),
    ],
)
def test_tensors_that_do_not_fit(file, change, messages):
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file)
    refused(file, *messages)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("{", "lora_adapter_metadata in the header is not readable JSON"),
        ("[]", "lora_adapter_metadata in the header is no JSON object"),
        ({"transformer.lora_alpha": "many"}, "lora_alpha in the header is 'many'; a number is needed"),
        ({"transformer.lora_alpha": True}, "lora_alpha in the header is True"),
        ({"transformer.use_dora": True}, "is a DoRA (use_dora in the header); valid: plain LoRA files"),
        ({"transformer.alpha_pattern": {"to_[qk]": 4}}, "alpha_pattern 'to_[qk]' is a regular expression"),
    ],
)
def test_headers_that_cannot_be_followed(file, header, message):
    text = header if isinstance(header, str) else json.dumps(header)
    save_file(load_file(file), file, {"lora_adapter_metadata": text})
    refused(file, message)


def test_files_that_are_no_safetensors(file, tmp_path):
    content = file.read_bytes()
    file.write_bytes(content[:-50])
    refused(file, "is truncated or no safetensors file")
    file.write_bytes(b"")
    refused(file, "is truncated or no safetensors file")
    file.write_bytes(b"PK\x03\x04" + content)
    refused(file, "is a pickle, which can run code when opened; convert it to safetensors")
    file.unlink()
    refused(file, "does not exist; a .safetensors file is needed")
    refused(tmp_path, "cannot read", "Is a directory")
    (tmp_path / "lora.pdparams").write_bytes(content)
    refused(tmp_path / "lora.pdparams", "is a pickle")


def test_a_header_whose_length_begins_like_a_pickle_is_read(file):
    """A header of 128 bytes more than a multiple of 256 begins with the byte that begins pickles."""
    for words in range(0, 256, 8):
        write_lora(file, lora_layers(SHAPES), {"pad": "x" * words}, "float32")
        if file.read_bytes()[0] == 0x80:
            break
    assert file.read_bytes()[0] == 0x80
    assert read_lora(file, SHAPES).layers
