"""T5's encoder against transformers."""

import json
from pathlib import Path

import numpy as np
import paddle
import pytest
from safetensors.numpy import load_file, save_file

from fastdiffusers.errors import WeightsError
from fastdiffusers.models.t5_encoder import T5Config, T5EncoderModel, relative_position_buckets
from fastdiffusers.weights import load_layer, save_layer

GOLDEN = Path(__file__).parents[1] / "golden"
KINDS = ["gated", "relu"]
TOLERANCE = 1e-5


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("output", "length"), [("hidden", 48), ("short", 7)])
def test_outputs_equal_transformers(kind, output, length):
    expected = load_file(GOLDEN / f"t5_{kind}" / "outputs.safetensors")
    model = load_layer(T5EncoderModel, GOLDEN / f"t5_{kind}")
    hidden = model(paddle.to_tensor(expected["ids"][:, :length])).numpy()
    assert np.abs(hidden - expected[output]).max() < TOLERANCE


@pytest.mark.parametrize(("count", "distance"), [(32, 128), (16, 24), (8, 500)])
def test_relative_position_buckets(count, distance):
    by_offset = load_file(GOLDEN / "t5_buckets.safetensors")[f"{count}.{distance}"]
    length = len(by_offset) // 2 + 1
    buckets = relative_position_buckets(length, count, distance)
    position = np.arange(length)
    assert (buckets == by_offset[position[None, :] - position[:, None] + length - 1]).all()
    assert relative_position_buckets(length, count, distance) is buckets


def test_a_tied_copy_of_the_embedding_is_accepted(tmp_path):
    folder = GOLDEN / "t5_gated"
    weights = load_file(folder / "model.safetensors")
    save_file(weights | {"encoder.embed_tokens.weight": weights["shared.weight"]}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    expected = load_file(folder / "outputs.safetensors")
    hidden = load_layer(T5EncoderModel, tmp_path)(paddle.to_tensor(expected["ids"])).numpy()
    assert np.abs(hidden - expected["hidden"]).max() < TOLERANCE


@pytest.mark.parametrize("kind", KINDS)
def test_saving_keeps_every_bit_and_the_configuration(kind, tmp_path):
    model = load_layer(T5EncoderModel, GOLDEN / f"t5_{kind}")
    save_layer(model, tmp_path)
    saved, original = (load_file(folder / "model.safetensors") for folder in (tmp_path, GOLDEN / f"t5_{kind}"))
    assert set(saved) == set(original)
    assert all((saved[key] == original[key]).all() for key in saved)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["model_type"] == "t5"
    assert config["dense_act_fn"] == {"gated": "gelu_new", "relu": "relu"}[kind]
    assert T5Config.from_dict(config).to_dict() == config


def test_names_and_shapes_of_the_encoder_of_flux():
    manifest = json.loads((GOLDEN / "manifest_t5_xxl.json").read_text())
    with paddle.LazyGuard():
        model = T5EncoderModel(
            T5Config(d_model=4096, d_ff=10240, num_layers=24, num_heads=64, feed_forward_proj="gated-gelu")
        )
    turned = {f"{name}.weight" for name, part in model.named_sublayers() if isinstance(part, paddle.nn.Linear)}
    ours = {name: list(p.shape)[:: -1 if name in turned else 1] for name, p in model.named_parameters()}
    assert ours == manifest


def test_every_parameter_learns():
    model = load_layer(T5EncoderModel, GOLDEN / "t5_gated")
    hidden = model(paddle.to_tensor(load_file(GOLDEN / "t5_gated" / "outputs.safetensors")["ids"]))
    (hidden**3).mean().backward()
    assert [n for n, p in model.named_parameters() if p.grad is None or float(p.grad.abs().max()) == 0.0] == []


def test_running_leaves_the_attributes_as_they_were():
    model = load_layer(T5EncoderModel, GOLDEN / "t5_gated")
    before = [dict(vars(part)) for part in model.sublayers(include_self=True)]
    model(paddle.zeros([1, 9], dtype="int64"))
    assert [dict(vars(part)) for part in model.sublayers(include_self=True)] == before


def test_dropout_works_in_training_only():
    model = load_layer(T5EncoderModel, GOLDEN / "t5_gated")
    ids = paddle.arange(12, dtype="int64").unsqueeze(0)
    still = model(ids).numpy()
    assert (model(ids).numpy() == still).all()
    model.train()
    paddle.seed(0)
    assert np.abs(model(ids).numpy() - still).max() > 1e-3


def test_an_unknown_feed_forward_is_named():
    with pytest.raises(WeightsError, match=r"feed_forward_proj .*'gated-tanh'; valid: .*gated-gelu"):
        T5Config(feed_forward_proj="gated-tanh")
