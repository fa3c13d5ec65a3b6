"""Sets on disk: what makes one set another, and which chunks are left to draw."""

import dataclasses

import numpy as np
import pytest

from fastdiffusers.errors import InputError
from fastdiffusers.evaluation import PictureSet, save_pictures
from fastdiffusers.evaluation.picture_set import CHUNK, chunk_file

ONE = PictureSet("somewhere", "abc", ("a cat", "a dog"), (0, 1), 4, 3.5, 0.0)
LONG = PictureSet("m", "h", ("a cat",) * (CHUNK + 6), tuple(range(CHUNK + 6)), 1)


@pytest.mark.parametrize(
    "change",
    [
        {"model_sha256": "abd"},
        {"prompts": ("a cat", "a fox")},
        {"seeds": (0, 2)},
        {"steps": 5},
        {"guidance": 3.0},
        {"mu": 0.1},
        {"mu": None},
        {"mu": None, "accel": "teacache"},
    ],
)
def test_whatever_decides_a_picture_is_in_the_name(change):
    assert dataclasses.replace(ONE, **change).name != ONE.name


def test_a_model_that_moved_keeps_its_pictures():
    assert dataclasses.replace(ONE, model="elsewhere").name == ONE.name


def test_plain_sets_have_the_names_they_always_had():
    """Many pictures lie on disks under them."""
    plain = PictureSet("m", "0" * 64, ("a", "b"), (1, 2), 28)
    assert plain.name == "28-steps-mu-rule-2-a8261066696b"
    assert dataclasses.replace(plain, accel="teacache").name != plain.name


def test_a_shift_of_its_own_and_an_accelerator_are_refused():
    with pytest.raises(InputError, match=r"mu=0\.1 goes around the scheduler, which 'teacache'"):
        dataclasses.replace(ONE, mu=0.1, accel="teacache")


def test_an_accelerator_is_read_back(tmp_path):
    item = dataclasses.replace(LONG, accel="teacache:threshold=0.4")
    assert PictureSet.read(item.describe(tmp_path)) == item


def test_chunks_cover_every_picture_once():
    assert [LONG.rows(i) for i in LONG.chunks] == [slice(0, CHUNK), slice(CHUNK, CHUNK + 6)]


def test_only_missing_chunks_are_left_and_the_record_reads_back(tmp_path):
    pictures = np.arange(len(LONG) * 12, dtype=np.uint8).reshape(-1, 2, 2, 3)
    assert LONG.missing(tmp_path) == [0, 1]
    save_pictures(LONG, tmp_path, pictures)
    assert LONG.missing(tmp_path) == [] and LONG.missing(tmp_path, "features") == [0, 1]
    np.testing.assert_array_equal(LONG.load(tmp_path), pictures)
    assert PictureSet.read(LONG.folder(tmp_path)) == LONG
    chunk_file(LONG.folder(tmp_path), "pictures", 1).unlink()
    assert LONG.missing(tmp_path) == [1]
    with pytest.raises(InputError, match="1 of 2 chunks of pictures are missing"):
        LONG.load(tmp_path)


def test_a_damaged_chunk_is_named(tmp_path):
    save_pictures(LONG, tmp_path, np.zeros((len(LONG), 2, 2, 3), np.uint8))
    path = chunk_file(LONG.folder(tmp_path), "pictures", 1)
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(InputError, match=r"pictures-00001.npy' is damaged .*remove it"):
        LONG.load(tmp_path)


@pytest.mark.parametrize("change", [{"seeds": (0,)}, {"prompts": (), "seeds": ()}, {"steps": 0}])
def test_a_set_that_cannot_be_is_refused(change):
    with pytest.raises(InputError):
        dataclasses.replace(ONE, **change)
