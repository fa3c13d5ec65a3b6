"""CLIP whole against transformers: pictures prepared, both encoders, both projections, and what a folder may say."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import paddle
import pytest
from PIL import Image
from safetensors.numpy import load_file, save_file

from fastdiffusers.errors import InputError, WeightsError
from fastdiffusers.models.clip import CLIPConfig, CLIPModel
from fastdiffusers.models.clip_vision import CLIPVisionConfig
from fastdiffusers.scorer.clip import load_clip
from fastdiffusers.scorer.clip_preparing import FILE, Preparation, read_preparation
from fastdiffusers.weights import load_layer, save_layer

FOLDER = Path(__file__).parents[1] / "golden" / "clip"
TEXTS = ("a red apple on a blue background", "A photo of a cat", "", "hello!!! what?! " * 30)


@pytest.fixture(scope="module")
def expected() -> dict[str, np.ndarray]:
    return load_file(FOLDER / "outputs.safetensors")


@pytest.fixture(scope="module")
def pictures(expected) -> list[np.ndarray]:
    return [expected[f"picture.{i}"] for i in range(5)]


def copied(to: Path) -> Path:
    return Path(shutil.copytree(FOLDER, to))


def test_pictures_are_prepared_as_transformers_does(expected, pictures):
    found = read_preparation(FOLDER, 24)(pictures)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected["pixels"], atol=1e-6)
    as_images = Preparation(24)([Image.fromarray(picture) for picture in pictures])  # CLIP's own numbers by default
    np.testing.assert_array_equal(as_images, found)


def test_embeddings_of_pictures_and_texts_are_those_of_transformers(expected, pictures):
    scorer = load_clip(FOLDER)
    assert scorer.name == "clip" and len(scorer.sha256) == 64
    np.testing.assert_allclose(scorer.embed_images(pictures), expected["images"], atol=1e-5)
    np.testing.assert_allclose(scorer.embed_texts(TEXTS), expected["texts"], atol=1e-5)
    assert np.abs(expected["texts"][0] - expected["texts"][1]).max() > 0.05  # not all alike


def test_more_pictures_than_fit_at_once_are_the_same(expected, pictures):
    scorer = load_clip(FOLDER)
    many = scorer.embed_images(pictures * 4)
    np.testing.assert_allclose(many, np.tile(expected["images"], (4, 1)), atol=1e-5)


def test_saving_keeps_names_and_every_bit(tmp_path):
    model = load_layer(CLIPModel, FOLDER)
    save_layer(model, tmp_path)
    saved, original = load_file(tmp_path / "model.safetensors"), load_file(FOLDER / "model.safetensors")
    assert saved.keys() == original.keys()
    assert all((saved[name] == value).all() for name, value in original.items())
    again = CLIPConfig.from_dict(json.loads((tmp_path / "config.json").read_text()))
    for part in ("text_config", "vision_config"):
        assert replace(getattr(again, part), extra={}) == replace(getattr(model.config, part), extra={})


def test_constant_buffers_of_old_files_are_passed_over(expected, pictures, tmp_path):
    folder = copied(tmp_path / "old")
    weights = load_file(FOLDER / "model.safetensors")
    for name in ("text_model", "vision_model"):
        weights[f"{name}.embeddings.position_ids"] = np.arange(10, dtype=np.int64)[None]
    save_file(weights, folder / "model.safetensors")
    np.testing.assert_allclose(load_clip(folder).embed_images(pictures), expected["images"], atol=1e-5)


def test_the_sizes_of_the_published_base_model():
    """ViT-B/32: 151,277,313 weights, as its card says; 49 patches."""
    with paddle.LazyGuard():
        model = CLIPModel(CLIPConfig.from_dict({"model_type": "clip"}))
    assert sum(int(np.prod(p.shape)) for p in model.parameters()) == 151_277_313
    assert model.config.vision_config.patches == 49


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("config.json", {"model_type": "siglip"}, r"model_type is 'siglip'; valid: 'clip'"),
        ("config.json", {"vision_config": 3}, r"vision_config is 3; valid: an object"),
        ("config.json", {"projection_dim": 29}, r"has the shape \[28, \d+\], the configuration asks for \[29, \d+\]"),
        (FILE, {"crop_size": 25}, r"crop_size is 25, but the network sees 24 x 24"),
        (FILE, {"size": {"shortest_edge": 30}}, r"size is \{'shortest_edge': 30\}"),
        (FILE, {"do_center_crop": False}, r"do_center_crop is False; valid: true"),
        (FILE, {"resample": 2}, r"resample is 2; valid: 3 \(bicubic\)"),
        (FILE, {"image_mean": [0.5]}, r"image_mean is \[0.5\]; valid: three numbers"),
        (FILE, {"image_std": [0.5, 0, 1]}, r"image_std is \[0.5, 0.0, 1.0\]; valid: numbers above 0"),
    ],
)
def test_a_folder_that_is_not_as_it_should_be(tmp_path, file, change, message):
    folder = copied(tmp_path / "bad")
    (folder / file).write_text(json.dumps(json.loads((FOLDER / file).read_text()) | change))
    with pytest.raises(WeightsError, match=message):
        load_clip(folder)


def test_the_hash_is_of_all_that_decides_what_is_seen(tmp_path):
    """What was kept of pictures is found by it."""
    folder = copied(tmp_path / "other")
    assert load_clip(folder).sha256 == load_clip(FOLDER).sha256
    values = json.loads((FOLDER / FILE).read_text()) | {"image_std": [0.5, 0.5, 0.5]}
    (folder / FILE).write_text(json.dumps(values))
    assert load_clip(folder).sha256 != load_clip(FOLDER).sha256


@pytest.mark.parametrize("lacking", ["config.json", "model.safetensors", "vocab.json"])
def test_a_folder_that_lacks_a_file(tmp_path, lacking):
    folder = copied(tmp_path / "bad")
    (folder / lacking).unlink()
    with pytest.raises(WeightsError):
        load_clip(folder)


def test_bad_configurations_and_inputs(expected):
    with pytest.raises(WeightsError, match=r"hidden_act .*'relu'; valid: gelu, quick_gelu"):
        CLIPVisionConfig(hidden_act="relu")
    with pytest.raises(WeightsError, match="hidden_size 10 is no multiple of num_attention_heads 4"):
        CLIPVisionConfig(hidden_size=10, num_attention_heads=4)
    with pytest.raises(WeightsError, match="patch_size 8 must be between 1 and image_size 7"):
        CLIPVisionConfig(patch_size=8, image_size=7)
    scorer = load_clip(FOLDER)
    with pytest.raises(InputError, match=r"pictures are \[20, 24\]; valid: 24 x 24"):
        scorer.network.image_features(paddle.zeros([1, 3, 20, 24]))
    with pytest.raises(InputError, match="21 tokens are too many; valid: 1 to 20"):
        scorer.network.text_features(paddle.zeros([1, 21], dtype="int64"))
    with pytest.raises(InputError, match="there are no pictures"):
        scorer.embed_images([])
    with pytest.raises(InputError, match="a picture of float64"):
        scorer.embed_images([np.zeros((4, 4, 3))])
