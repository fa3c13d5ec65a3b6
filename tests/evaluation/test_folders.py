"""Figures of two folders of pictures, whoever drew them."""

import numpy as np
import pytest
from PIL import Image
from scripted_scorer import ScriptedScorer, quarters

import fastdiffusers.scorer
from fastdiffusers.errors import InputError
from fastdiffusers.evaluation.folders import BATCH, compare_folders, picture_files
from fastdiffusers.metrics import frechet_distance, kernel_distance, psnr, ssim


@pytest.fixture
def scorer(monkeypatch):
    scripted = ScriptedScorer()
    monkeypatch.setattr(fastdiffusers.scorer, "load", lambda folder=None: scripted)
    return scripted


def fill(folder, count: int, seed: int, side: int = 16) -> np.ndarray:
    """PNGs ``1.png`` … ``count.png``, and what is in them."""
    folder.mkdir()
    made = np.random.default_rng(seed).integers(0, 256, (count, side, side, 3), dtype=np.uint8)
    for i, picture in enumerate(made, 1):
        Image.fromarray(picture).save(folder / f"{i}.png")
    return made


def test_the_figures_are_those_of_the_pictures_in_the_order_of_their_numbers(tmp_path, scorer):
    a, b = fill(tmp_path / "a", 40, 0), fill(tmp_path / "b", 40, 1)
    prompts = ["x" * (i + 1) for i in range(40)]
    found = compare_folders(tmp_path / "a", tmp_path / "b", prompts, paired=True, show=False)
    features = [np.stack([quarters(picture) for picture in side]).astype(np.float32) for side in (a, b)]
    assert found["n"] == [40, 40] and found["scorer"] == scorer.sha256
    assert found["fd"] == pytest.approx(frechet_distance(*features))
    kernel = kernel_distance(*features)
    assert (found["kid"], found["kid_error"]) == pytest.approx((kernel.mean, kernel.error))
    assert found["psnr"] == pytest.approx(np.mean([psnr(*pair) for pair in zip(a, b, strict=True)]))
    assert found["ssim"] == pytest.approx(np.mean([ssim(*pair) for pair in zip(a, b, strict=True)]))
    texts = scorer.embed_texts(prompts).astype(np.float64)
    for name, side in (("clip_first", a), ("clip_second", b)):
        expected = (scorer.embed_images(side).astype(np.float64) * texts).sum(axis=1).mean()
        assert found[name] == pytest.approx(expected)
    assert scorer.most <= BATCH  # thousands of large pictures would not fit


def test_equal_pictures_are_as_alike_as_can_be_said(tmp_path, scorer):
    for name in "ab":
        fill(tmp_path / name, 8, 0)
    found = compare_folders(tmp_path / "a", tmp_path / "b", None, paired=True, show=False)
    assert (found["psnr"], found["ssim"]) == pytest.approx((99.0, 1.0))
    assert found["fd"] == pytest.approx(0, abs=1e-9)
    assert "clip_first" not in found


def test_names_are_ordered_by_their_numbers_and_mix_with_words(tmp_path):
    names = ["10.png", "2.png", "a.png", "a10-2.PNG", "a10-1.webp", "a9.jpg", "b²3.jpeg", "notes.txt", "1.png.bak"]
    for name in names:
        (tmp_path / name).write_bytes(b"")
    found = [file.name for file in picture_files(tmp_path)]
    assert found == ["2.png", "10.png", "a9.jpg", "a10-1.webp", "a10-2.PNG", "a.png", "b²3.jpeg"]


def test_what_cannot_be_compared_is_refused_before_the_scorer_works(tmp_path, scorer):
    fill(tmp_path / "a", 6, 0)
    fill(tmp_path / "b", 7, 0)
    fill(tmp_path / "small", 6, 0, side=12)
    (tmp_path / "empty").mkdir()
    cases = [
        (("a", "nothing"), None, False, "nothing' is not a folder"),
        (("a", "empty"), None, False, r"empty' holds no pictures \(.png, .jpg"),
        (("a", "b"), None, True, "6 and 7 pictures cannot be paired"),
        (("a", "b"), ["x"] * 6, False, "6 prompts for 7 pictures; give one of each"),
        (("a", "small"), None, True, "'1.png' and '1.png' are 16x16 and 12x12 and cannot be paired"),
    ]
    for names, prompts, paired, message in cases:
        with pytest.raises(InputError, match=message):
            compare_folders(*(tmp_path / name for name in names), prompts, paired, show=False)
    assert scorer.most == 0


def test_a_damaged_picture_is_named_in_one_line(tmp_path, scorer):
    for name in "ab":
        fill(tmp_path / name, 6, 0)
    whole = (tmp_path / "b" / "3.png").read_bytes()
    for content in (b"no picture", whole[:60], whole[:-30]):
        (tmp_path / "b" / "3.png").write_bytes(content)
        with pytest.raises(InputError, match=r"b/3.png' is not a readable picture: ") as caught:
            compare_folders(tmp_path / "a", tmp_path / "b", None, paired=False, show=False)
        assert "\n" not in str(caught.value)


class Eye:
    """A network by formula: the features are a picture's first five reds, the words' vectors count letters."""

    name, sha256 = "eye", "e1" * 32

    def features(self, pictures):
        return np.stack([np.asarray(picture)[0, :5, 0] for picture in pictures]).astype(np.float32)

    def embed_images(self, pictures):
        return np.stack([np.asarray(picture)[1, :3, 1] for picture in pictures]).astype(np.float32)

    def embed_texts(self, texts):
        return np.array([[len(text), 1, 0] for text in texts], np.float32)


def test_figures_of_other_networks_stand_beside_the_scorers(tmp_path, scorer, monkeypatch):
    from fastdiffusers.evaluation import backbone

    monkeypatch.setattr(backbone, "_opened", lambda kind, place: Eye())
    clip, inception = backbone.Backbone("clip", "c"), backbone.Backbone("inception", "i")
    a, b = fill(tmp_path / "a", 40, 0), fill(tmp_path / "b", 40, 1)
    prompts = ["x" * (i + 1) for i in range(40)]
    folders = (tmp_path / "a", tmp_path / "b")
    plain = compare_folders(*folders, prompts, False, False)
    found = compare_folders(*folders, prompts, False, False, clip, inception)
    eye = Eye()
    features = [eye.features(side) for side in (a, b)]
    kernel = kernel_distance(*features)
    assert found["fid"] == pytest.approx(frechet_distance(*features)) and found["inception"] == "eye (e1e1e1e1e1e1)"
    assert (found["kid_inception"], found["kid_inception_error"]) == pytest.approx((kernel.mean, kernel.error))
    assert found["fid_note"].startswith("N = 40 is few for 5 features: even")
    for name, side in (("first", a), ("second", b)):
        expected = (eye.embed_images(side).astype(float) * eye.embed_texts(prompts)).sum(axis=1).mean()
        assert found[f"clip_{name}"] == pytest.approx(expected)
        assert found[f"clip_scorer_{name}"] == plain[f"clip_{name}"]
    assert found["fd"] == plain["fd"] and "fid" not in plain and "clip_scorer_first" not in plain
    with pytest.raises(InputError, match="--clip scores pictures by their prompts"):
        compare_folders(*folders, None, False, False, clip)


def test_what_is_said_of_few_pictures():
    from fastdiffusers.evaluation.backbone import few_note

    assert few_note(20_481, 2048) == ""
    assert "few for 2048 features: even" in few_note(4000, 2048)
    assert "covariances are singular" in few_note(2048, 2048)
