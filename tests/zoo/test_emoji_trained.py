"""Captions without the data: those that the data itself would give."""

import numpy as np

from fastdiffusers.zoo.emoji import SAMPLE, EmojiDataset, trained
from fastdiffusers.zoo.emoji.trained import TRAINED, trained_index, trained_lines
from fastdiffusers.zoo.pretrain.captions import CaptionSource


def test_captions_equal_those_of_the_data(tmp_path, monkeypatch):
    data = EmojiDataset(SAMPLE, size=64, core_only=True)
    (tmp_path / "trained.txt").write_text(trained_lines(data.index), encoding="utf-8")
    monkeypatch.setattr(trained, "TRAINED", tmp_path / "trained.txt")
    trained_index.cache_clear()
    try:
        index = trained_index()
    finally:
        trained_index.cache_clear()
    rows = np.random.default_rng(0).integers(len(data), size=2000)
    drawn = [CaptionSource(source, 0.5).draw(rows, np.random.default_rng(1)) for source in (data, index)]
    assert len(index.entries) == len(data) and drawn[0] == drawn[1]


def test_the_shipped_list_agrees_with_the_sample():
    shipped = {(entry["hexcode"], entry["style"]): entry for entry in trained_index().entries}
    data = EmojiDataset(SAMPLE, size=64, core_only=True)
    for entry in data.entries:
        known = shipped[entry["hexcode"], entry["style"]]
        assert known["label"] == entry["label"] and known["clashes"] == entry["clashes"]
        assert set(entry["aliases"]) <= set(known["aliases"])
    assert TRAINED.read_text(encoding="utf-8").isascii()
