"""The shipped scorer: the file of the release, and that it can judge, on the packaged pictures."""

import shutil

import numpy as np
import pytest

from fastdiffusers import scorer as scorers
from fastdiffusers.errors import WeightsError
from fastdiffusers.files import sha256_file
from fastdiffusers.metrics import frechet_distance
from fastdiffusers.zoo.emoji import PALETTE, SAMPLE, EmojiDataset
from fastdiffusers.zoo.emoji.articles import with_article

WEIGHTS = scorers.SHIPPED / "model.safetensors"


@pytest.fixture(scope="module")
def scorer():
    return scorers.load()


@pytest.fixture(scope="module")
def data():
    return EmojiDataset(SAMPLE, size=64, split="all")


def drawn(data, ground=None):
    return np.stack([data.image(i, ground) for i in range(len(data))])


def best(scorer, pictures, texts):
    return (scorer.embed_images(pictures) @ scorer.embed_texts(texts).T).argmax(axis=1)


def test_the_files_of_the_release(scorer):
    assert sha256_file(WEIGHTS) == scorers.SHA256 == scorer.sha256
    assert WEIGHTS.stat().st_size < 5e6
    assert 1 < scorer.scale <= 50
    readme = (scorers.SHIPPED / "README.md").read_text()
    for credit in ("Noto Emoji", "Fluent Emoji", "Twemoji", "CC-BY 4.0", "fastdiff pretrain scorer"):
        assert credit in readme


def test_other_weights_in_its_place_are_refused(tmp_path, monkeypatch):
    shutil.copytree(scorers.SHIPPED, tmp_path / "scorer")
    with open(tmp_path / "scorer" / "model.safetensors", "r+b") as stream:
        stream.seek(-2, 2)
        stream.write(b"\x01\x02")
    monkeypatch.setattr(scorers, "SHIPPED", tmp_path / "scorer")
    with pytest.raises(WeightsError, match=f"has the SHA-256 .*, this release has {scorers.SHA256}") as error:
        scorers.load()
    assert "\n" not in str(error.value)
    assert scorers.load(tmp_path / "scorer").sha256 != scorers.SHA256


def test_every_picture_is_told_by_its_label(scorer, data):
    labels = sorted({entry["label"] for entry in data.entries})
    found = best(scorer, drawn(data), labels)
    assert [labels[i] for i in found] == [entry["label"] for entry in data.entries]


def test_every_label_finds_a_picture_of_it(scorer, data):
    labels = sorted({entry["label"] for entry in data.entries})
    found = (scorer.embed_texts(labels) @ scorer.embed_images(drawn(data, "blue")).T).argmax(axis=1)
    assert [data.entries[i]["label"] for i in found] == labels


def test_the_ground_that_the_text_names_wins(scorer, data):
    rows = [i for i, entry in enumerate(data.entries) if entry["label"] == "red apple"]
    grounds = [None, *(name for name in PALETTE if name not in data.entries[rows[0]]["clashes"])]
    texts = [f"a red apple on a {name or 'white'} background".replace("a orange", "an orange") for name in grounds]
    for row in rows:
        pictures = np.stack([data.image(row, name) for name in grounds])
        assert best(scorer, pictures, texts).tolist() == list(range(len(grounds)))


def test_blue_is_told_from_other_grounds_for_all(scorer, data):
    texts = [f"{with_article(entry['label'])} on a blue background" for entry in data.entries]
    on_blue = scorer.clip_score(drawn(data, "blue"), texts)
    for other in (None, "green", "purple"):
        assert np.mean(on_blue > scorer.clip_score(drawn(data, other), texts)) > 0.9


def test_the_named_style_wins(scorer, data):
    styles = ["noto", "fluent"]
    images = scorer.embed_images(drawn(data))
    texts = [[f"{entry['label']}, {style} style" for style in styles] for entry in data.entries]
    found = [int((scorer.embed_texts(pair) @ image).argmax()) for pair, image in zip(texts, images, strict=True)]
    assert np.mean([styles[i] == entry["style"] for i, entry in zip(found, data.entries, strict=True)]) > 0.85


def test_unknown_words_are_named_and_do_not_disturb(scorer, data):
    assert scorer.unknown_words("a frumious red apple") == ["frumious"]
    rows = [i for i, entry in enumerate(data.entries) if entry["label"] == "red apple"]
    labels = sorted({entry["label"] for entry in data.entries})
    texts = [f"a frumious {label}" for label in labels]
    found = best(scorer, drawn(data)[rows], texts)
    assert {labels[i] for i in found} == {"red apple"}


def test_features_of_real_pictures_are_near_the_data_they_were_scaled_by(scorer, data):
    features = np.concatenate([scorer.features(drawn(data, name)) for name in (None, "blue", "green", "pink")])
    assert features.shape == (96, 64) and features.dtype == np.float32
    assert 0.3 < features.var(axis=0).sum() < 2  # 1 on the whole data; here are twelve concepts only


def test_blur_and_noise_move_the_features_away(scorer, data):
    real = np.concatenate([drawn(data, name) for name in (None, "blue", "green", "pink")])
    grey = (real * 0.5 + real[::-1] * 0.5).astype(np.uint8)  # two things at once, as a one-step generator draws
    features = scorer.features(real)
    near = frechet_distance(features, scorer.features(np.roll(real, 1, axis=2)))
    far = frechet_distance(features, scorer.features(grey))
    assert far > 0.1 and far > 5 * near
