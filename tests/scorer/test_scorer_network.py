"""The scorer on random weights: what its parts must do whatever they have learned; saved and loaded."""

import json

import numpy as np
import paddle
import pytest
from PIL import Image

from fastdiffusers import scorer as scorers
from fastdiffusers.errors import InputError, WeightsError
from fastdiffusers.files import sha256_file
from fastdiffusers.scorer.network import LARGEST_SCALE, ScorerNetwork
from fastdiffusers.scorer.preparing import prepared
from fastdiffusers.scorer.words import PAD
from fastdiffusers.weights import save_layer

TINY = ScorerNetwork.Config(
    image_size=16,
    channels=(8, 8, 16),
    hidden_size=24,
    embedding_size=12,
    features=5,
    word_size=16,
    heads=2,
    words=("a", "apple", "cat", "red"),
)


@pytest.fixture(scope="module")
def network():
    paddle.seed(7)
    made = ScorerNetwork(TINY)
    with paddle.no_grad():
        made.features_mean.set_value(paddle.randn([24]))
        made.features_basis.set_value(paddle.randn([24, 5]))
    made.eval()
    return made


@pytest.fixture(scope="module")
def scorer(network, tmp_path_factory):
    folder = tmp_path_factory.mktemp("scorer")
    save_layer(network, folder, weights_name="model")
    return scorers.load(folder)


@pytest.fixture(scope="module")
def pictures():
    return np.random.default_rng(0).integers(0, 256, (70, 32, 32, 3)).astype(np.uint8)


def test_padding_changes_no_text(network):
    short = network.text(paddle.to_tensor([[2, 5, 3]]))
    long = network.text(paddle.to_tensor([[2, 5, 3, PAD, PAD, PAD]]))
    np.testing.assert_allclose(short.numpy(), long.numpy(), atol=1e-6)


def test_words_and_their_order_change_a_text(network):
    one, other, turned = (network.text(paddle.to_tensor([ids])).numpy() for ids in ([2, 5, 3], [2, 5, 4], [2, 3, 5]))
    assert np.abs(one - other).max() > 1e-3 and np.abs(one - turned).max() > 1e-4


def test_saved_and_loaded_it_is_the_same(network, scorer, pictures, tmp_path):
    ids = paddle.to_tensor([scorer.words.numbers("a red cat")])
    expected = network.text(ids).numpy()[0]
    np.testing.assert_allclose(scorer.embed_texts(["a red cat"])[0], expected / np.linalg.norm(expected), atol=1e-6)
    save_layer(scorer.network, tmp_path, weights_name="model")
    again = scorers.load(tmp_path)
    np.testing.assert_array_equal(again.features(pictures[:3]), scorer.features(pictures[:3]))
    assert again.sha256 == scorer.sha256 == sha256_file(tmp_path / "model.safetensors")
    assert json.loads((tmp_path / "config.json").read_text())["words"] == list(TINY.words)


def test_embeddings_are_unit_vectors_whatever_the_batch(scorer, pictures):
    all_at_once = scorer.embed_images(pictures)
    assert all_at_once.shape == (70, 12) and all_at_once.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(all_at_once, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(scorer.embed_images(pictures[66:]), all_at_once[66:], atol=1e-5)
    texts = ["red cat", "an apple"] * 40
    many = scorer.embed_texts(texts)
    assert many.shape == (80, 12)
    np.testing.assert_allclose(np.linalg.norm(many, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(scorer.embed_texts(texts[:1])[0], many[78], atol=1e-5)


def test_clip_score_is_the_cosine_of_each_pair(scorer, pictures):
    texts = ["a cat", "red apple", "a blorb"]
    scores = scorer.clip_score(pictures[:3], texts)
    expected = (scorer.embed_images(pictures[:3]) * scorer.embed_texts(texts)).sum(axis=1)
    np.testing.assert_allclose(scores, expected, atol=1e-6)
    assert scores.dtype == np.float32 and scorer.unknown_words(texts[2]) == ["blorb"]


def test_features_are_projections_of_the_penultimate_layer(network, scorer, pictures):
    hidden = network.image(paddle.to_tensor(prepared(pictures[:4], 16)))[0].numpy()
    expected = (hidden - network.features_mean.numpy()) @ network.features_basis.numpy()
    np.testing.assert_allclose(scorer.features(pictures[:4]), expected, rtol=1e-4, atol=1e-4)


def test_pictures_are_averaged_by_area():
    picture = np.zeros((1, 4, 4, 3), np.uint8)
    picture[0, :2, :2] = [[[0, 255, 100]], [[255, 255, 102]]]
    small = prepared(picture, 2)
    assert small.shape == (1, 3, 2, 2)
    np.testing.assert_allclose((small[0, :, 0, 0] + 1) * 127.5, [128, 255, 101], atol=0.6)
    assert small[0, 0, 1, 1] == -1
    as_image = prepared([Image.fromarray(picture[0]).convert("RGBA")], 2)
    np.testing.assert_array_equal(as_image, small)


def test_the_scale_is_bounded(network):
    old = network.logit_scale.numpy()
    assert float(network.scale().item()) == pytest.approx(14, rel=1e-5)
    with paddle.no_grad():
        network.logit_scale.set_value(np.array([9.0], np.float32))
    assert float(network.scale().item()) == pytest.approx(LARGEST_SCALE)
    with paddle.no_grad():
        network.logit_scale.set_value(old)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ([], "there are no pictures"),
        (np.zeros((2, 8, 8, 3)), "float64"),
        (np.zeros((2, 8, 8, 4), np.uint8), r"\[8, 8, 4\]"),
        (np.zeros((8, 8, 3), np.uint8), r"\[8, 3\]"),
    ],
)
def test_bad_pictures(scorer, bad, message):
    with pytest.raises(InputError, match=message) as error:
        scorer.embed_images(bad)
    assert "\n" not in str(error.value)


def test_bad_texts_and_unequal_numbers(scorer, pictures):
    for bad in ("a cat", []):
        with pytest.raises(InputError, match="a list of at least 1 text is"):
            scorer.embed_texts(bad)
    with pytest.raises(InputError, match="3 pictures but 2 texts"):
        scorer.clip_score(pictures[:3], ["a", "b"])


def test_a_folder_without_a_scorer(tmp_path):
    with pytest.raises(WeightsError, match="is not a folder"):
        scorers.load(tmp_path / "none")
    with pytest.raises(WeightsError, match="no weights in"):
        scorers.load(tmp_path)
