"""A folder of pictures and captions: found in order, below sub-folders too; what lacks a caption is named."""

import pytest

from fastdiffusers.distillation.data import DataOptions, source
from fastdiffusers.errors import InputError


def test_pictures_and_their_captions(pictures):
    folder = pictures({"b.png": (8, 8), "a.png": (8, 8)})
    pictures({"c.png": (8, 8)}, folder / "deep")
    (folder / "a.txt").write_text(" a cat\n on a mat ")
    (folder / "deep" / "c.txt").write_text("deep")
    (folder / "b.txt").write_text("\n")
    (folder / "notes.md").write_text("no picture")
    found = source(DataOptions(data=str(folder)))
    assert [(s.key, s.caption) for s in found] == [("a.png", "a cat on a mat"), ("deep/c.png", "deep")]
    assert found.counts.named == ["b.png: the caption is empty"] and found.describe().endswith("3 pictures")
    (folder / "a.txt").unlink()
    assert [s.key for s in found] == ["deep/c.png"]
    assert found.counts.named[0] == "a.png: no caption 'a.txt' (No such file or directory)"


def test_a_folder_without_pictures_ends_it(tmp_path):
    with pytest.raises(InputError, match=r"holds no picture \(\.jpg, .*; of shards, name the list too"):
        source(DataOptions(data=str(tmp_path)))


def test_scores_need_a_file_that_has_them(pictures):
    with pytest.raises(InputError, match="max_watermark needs scores, and a folder of pictures has none"):
        source(DataOptions(data=str(pictures({"a.png": (8, 8)})), max_watermark=0.5))
