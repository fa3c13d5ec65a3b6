"""Pictures as arrays: compositing, resizing, choice of rows, and damaged folders."""

import json
import shutil

import numpy as np
import pytest

from fastdiffusers.errors import InputError
from fastdiffusers.files import sha256_file
from fastdiffusers.zoo.emoji.captions import PALETTE
from fastdiffusers.zoo.emoji.dataset import SAMPLE, EmojiDataset
from fastdiffusers.zoo.emoji.sheet import SAMPLE_LABELS, read_sheet, write_sheet


@pytest.fixture
def folder(tmp_path):
    """A data folder with two 8 px pictures of one concept, as `build` lays it out."""
    pictures = np.zeros((2, 8, 8, 4), dtype=np.uint8)
    pictures[0, :, :4] = (200, 100, 0, 255)  # left half opaque, right half clear
    pictures[1] = (200, 100, 0, 128)
    np.save(tmp_path / "images.npy", pictures)
    line = {"hexcode": "1", "label": "x", "tags": [], "aliases": [], "split": "train", "core": False, "licence": "MIT"}
    rows = [{**line, "row": 0, "style": "noto", "clashes": []}, {**line, "row": 1, "style": "fluent", "clashes": []}]
    (tmp_path / "index.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def test_mirrored_pictures_and_those_that_may_not_be(folder):
    data = EmojiDataset(folder, 8)
    both = data.batch([0, 0], ["blue", "blue"], [False, True])
    np.testing.assert_array_equal(both[1], both[0][..., ::-1])
    assert (both[0] != both[1]).any()
    with pytest.raises(InputError, match="2 rows but 1 choices of mirrored"):
        data.batch([0, 0], None, [True])
    coins = data.draw_mirrored([0] * 400, np.random.default_rng(0))
    assert 150 < coins.sum() < 250
    data.entries[0] = {**data.entries[0], "label": "red question mark"}
    assert data.one_sided(0) and not data.one_sided(1)
    assert not data.draw_mirrored([0] * 50, np.random.default_rng(0)).any()


def test_composite_on_a_colour(folder):
    data = EmojiDataset(folder, 8)
    picture = data.image(0, (10, 20, 30))
    assert picture.dtype == np.uint8
    assert picture.shape == (8, 8, 3)
    assert (picture[:, :4] == (200, 100, 0)).all()
    assert (picture[:, 4:] == (10, 20, 30)).all()
    expected = np.array([200, 100, 0]) * (128 / 255) + 255 * (127 / 255)
    np.testing.assert_allclose(data.image(1)[3, 3], expected, atol=1)
    assert (data.image(0, "blue")[0, 7] == PALETTE["blue"]).all()


def test_resize_averages_areas_without_dark_edges(folder):
    tiny = EmojiDataset(folder, 1)
    expected = np.array([200, 100, 0]) / 2 + np.array([255, 255, 255]) / 2
    np.testing.assert_allclose(tiny.image(0)[0, 0], expected, atol=1)
    third = EmojiDataset(folder, 3)  # the middle column is half covered
    np.testing.assert_allclose(third.image(0)[1, 1], expected, atol=1)
    assert (third.image(0)[1, 0] == (200, 100, 0)).all()


def test_batch_is_channel_first_in_minus_one_to_one(folder):
    data = EmojiDataset(folder, 4)
    batch = data.batch([0, 1, 0], ["black", None, (0, 0, 0)])
    assert batch.dtype == np.float32
    assert batch.shape == (3, 3, 4, 4)
    assert batch.flags.c_contiguous
    assert batch.min() == -1
    for i, background in enumerate(["black", None, (0, 0, 0)]):
        pixels = data.image([0, 1, 0][i], background).transpose(2, 0, 1)
        np.testing.assert_allclose(batch[i], pixels / 127.5 - 1, atol=1e-6)
    assert data.batch([]).shape == (0, 3, 4, 4)


def test_choice_of_style_split_and_core(folder):
    assert [entry["style"] for entry in EmojiDataset(folder, 8, styles=["fluent"]).entries] == ["fluent"]
    assert (EmojiDataset(folder, 8, styles=["fluent"]).image(0)[0, 0] != (200, 100, 0)).any()
    assert len(EmojiDataset(folder, 8, core_only=True)) == 0
    assert len(EmojiDataset(folder, 8, split="held-out")) == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 9}, "valid are 1 to 8"),
        ({"size": 0}, "valid are 1 to 8"),
        ({"split": "test"}, "all, held-out, train"),
        ({"styles": ["apple"]}, "fluent, noto, twemoji"),
    ],
)
def test_wrong_options(folder, options, message):
    with pytest.raises(InputError, match=message):
        EmojiDataset(folder, **{"size": 8, **options})


def test_wrong_rows_and_backgrounds(folder):
    data = EmojiDataset(folder, 8)
    for rows in ([2], [-1]):
        with pytest.raises(InputError, match="valid are 0"):
            data.batch(rows)
    with pytest.raises(InputError, match="one for each"):
        data.batch([0, 1], ["blue"])
    with pytest.raises(InputError, match="0 to 255"):
        data.image(0, (0, 0, 256))


def test_missing_and_damaged_folders_name_the_command(folder):
    def refused(kind: str) -> None:
        with pytest.raises(InputError, match=rf"{kind}.*fastdiff data emoji") as error:
            EmojiDataset(folder, 8)
        assert "\n" not in str(error.value)

    index = (folder / "index.jsonl").read_text()
    for broken in (index[: len(index) // 2], index.splitlines()[0] + "\n", "[1]\n", '{"row": 0}\n'):
        (folder / "index.jsonl").write_text(broken)
        refused("damaged")
    (folder / "index.jsonl").write_text(index)
    whole = (folder / "images.npy").read_bytes()
    (folder / "images.npy").write_bytes(whole[:-1])
    refused("damaged")
    (folder / "images.npy").unlink()
    refused("damaged")
    shutil.rmtree(folder)
    refused("no emoji data")


def test_packaged_sample():
    everything = EmojiDataset(SAMPLE, 64, split="all")
    assert len(everything) == 2 * len(SAMPLE_LABELS)
    assert {entry["label"] for entry in everything.entries} == set(SAMPLE_LABELS)
    assert len(EmojiDataset(SAMPLE, 32, split="train", core_only=True)) == 22
    assert {entry["label"] for entry in EmojiDataset(SAMPLE, 32, split="held-out").entries} == {"green apple"}
    heart = next(i for i, entry in enumerate(everything.entries) if entry["label"] == "red heart")
    red, green, blue = everything.image(heart)[32, 32].astype(int)
    assert red > 150 > max(green, blue)
    assert (everything.image(heart)[0, 0] == 255).all()


def test_packaged_sample_is_small_hashed_and_credited():
    files = list(SAMPLE.iterdir())
    assert sum(path.stat().st_size for path in files) < 300_000
    card = json.loads((SAMPLE / "card.json").read_text())
    assert card["sha256"] == {name: sha256_file(SAMPLE / name) for name in ("images.png", "index.jsonl")}
    notice = (SAMPLE / "NOTICE.txt").read_text()
    for holder in ("Google", "Microsoft", "Miles Johnson", "Unicode, Inc.", "Permission is hereby granted"):
        assert holder in notice


def test_sheet_round_trip(tmp_path):
    tiles = np.random.default_rng(0).integers(0, 256, (3, 5, 5, 4), dtype=np.uint8)
    write_sheet(tmp_path / "sheet.png", tiles)
    np.testing.assert_array_equal(read_sheet(tmp_path / "sheet.png"), tiles)
