"""CLIP's text encoder against transformers."""

import json
from pathlib import Path

import numpy as np
import paddle
import pytest
from safetensors.numpy import load_file, save_file

from fastdiffusers.errors import InputError, WeightsError
from fastdiffusers.models.clip_text import CLIPTextConfig, CLIPTextModel
from fastdiffusers.weights import load_layer, save_layer

GOLDEN = Path(__file__).parents[1] / "golden"
FOLDER = GOLDEN / "clip_text"
TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def expected() -> dict[str, np.ndarray]:
    return load_file(FOLDER / "outputs.safetensors")


def with_config(folder: Path, **changes: object) -> CLIPTextModel:
    """The golden weights under a changed configuration."""
    config = json.loads((FOLDER / "config.json").read_text()) | changes
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "model.safetensors").write_bytes((FOLDER / "model.safetensors").read_bytes())
    return load_layer(CLIPTextModel, folder)


@pytest.mark.parametrize(
    ("case", "changes"),
    [("first", {}), ("highest", {"eos_token_id": 2}), ("gelu", {"hidden_act": "gelu"})],
)
def test_outputs_equal_transformers(case, changes, expected, tmp_path):
    model = with_config(tmp_path, **changes)
    hidden, pooled = model(paddle.to_tensor(expected["ids"]))
    assert np.abs(hidden.numpy() - expected[f"{case}.hidden"]).max() < TOLERANCE
    assert np.abs(pooled.numpy() - expected[f"{case}.pooled"]).max() < TOLERANCE


def test_shorter_sequence(expected):
    model = load_layer(CLIPTextModel, FOLDER)
    hidden, _ = model(paddle.to_tensor(expected["ids"][:, :5]))
    assert np.abs(hidden.numpy() - expected["short.hidden"]).max() < TOLERANCE


def test_the_pooled_rules_differ_on_these_ids(expected):
    assert np.abs(expected["first.pooled"] - expected["highest.pooled"]).max() > 0.1


def test_hub_names_and_old_buffers_load(expected, tmp_path):
    weights = {f"text_model.{key}": value for key, value in load_file(FOLDER / "model.safetensors").items()}
    weights["text_model.embeddings.position_ids"] = np.arange(20, dtype=np.int64)[None]
    save_file(weights, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text((FOLDER / "config.json").read_text())
    _, pooled = load_layer(CLIPTextModel, tmp_path)(paddle.to_tensor(expected["ids"]))
    assert np.abs(pooled.numpy() - expected["first.pooled"]).max() < TOLERANCE


def test_saving_keeps_hub_names_and_every_bit(tmp_path):
    model = load_layer(CLIPTextModel, FOLDER)
    save_layer(model, tmp_path)
    saved, original = load_file(tmp_path / "model.safetensors"), load_file(FOLDER / "model.safetensors")
    assert {key.removeprefix("text_model.") for key in saved} == set(original)
    assert all(key.startswith("text_model.") for key in saved)
    assert all((value == original[key.removeprefix("text_model.")]).all() for key, value in saved.items())
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["model_type"] == "clip_text_model"
    assert CLIPTextConfig.from_dict(config) == model.config


@pytest.mark.parametrize("prefix", ["", "text_model."])
def test_names_and_shapes_of_the_encoder_of_flux(prefix):
    manifest = json.loads((GOLDEN / "manifest_clip_l.json").read_text())
    with paddle.LazyGuard():
        model = CLIPTextModel(
            CLIPTextConfig(
                hidden_size=768,
                intermediate_size=3072,
                projection_dim=768,
                num_attention_heads=12,
                eos_token_id=2,
            )
        )
    turned = {f"{name}.weight" for name, part in model.named_sublayers() if isinstance(part, paddle.nn.Linear)}
    ours = {name: list(p.shape)[:: -1 if name in turned else 1] for name, p in model.named_parameters()}
    assert ours == {CLIPTextModel.rename(prefix + name): shape for name, shape in manifest.items()}


def test_a_token_does_not_see_what_follows(expected):
    model = load_layer(CLIPTextModel, FOLDER)
    ids = expected["ids"].copy()
    before = model(paddle.to_tensor(ids))[0].numpy()
    ids[:, 8:] = 3
    after = model(paddle.to_tensor(ids))[0].numpy()
    assert (before[:, :8] == after[:, :8]).all()
    assert np.abs(before[:, 8:] - after[:, 8:]).max() > 0.1


def test_every_parameter_learns(expected):
    model = load_layer(CLIPTextModel, FOLDER)
    hidden, pooled = model(paddle.to_tensor(expected["ids"]))
    ((hidden**3).mean() + (pooled**3).mean()).backward()
    # A key's bias shifts all scores of a query alike, so softmax gives it no gradient but rounding.
    idle = [n for n, p in model.named_parameters() if p.grad is None or float(p.grad.abs().max()) == 0.0]
    assert [name for name in idle if not name.endswith("k_proj.bias")] == []


def test_a_new_model_starts_with_signals_of_ordinary_size():
    paddle.seed(0)
    config = CLIPTextConfig(
        vocab_size=99, hidden_size=64, intermediate_size=128, num_hidden_layers=3, num_attention_heads=4
    )
    weights = {name: float(p.std()) for name, p in CLIPTextModel(config).named_parameters()}
    assert weights["text_model.embeddings.token_embedding.weight"] == pytest.approx(0.02, rel=0.1)
    assert weights["text_model.encoder.layers.0.mlp.fc1.weight"] == pytest.approx((2 * 64) ** -0.5, rel=0.1)


def test_bad_configurations_and_inputs(expected, tmp_path):
    with pytest.raises(WeightsError, match=r"hidden_act .*'relu'; valid: gelu, quick_gelu"):
        CLIPTextConfig(hidden_act="relu")
    with pytest.raises(WeightsError, match="hidden_size 10 is no multiple of num_attention_heads 4"):
        CLIPTextConfig(hidden_size=10, num_attention_heads=4)
    with pytest.raises(WeightsError, match="eos_token_id"):
        CLIPTextConfig.from_dict({"eos_token_id": [2, 3]})
    with pytest.raises(InputError, match="21 tokens are too many; valid: 1 to 20"):
        load_layer(CLIPTextModel, FOLDER)(paddle.zeros([1, 21], dtype="int64"))
