"""metadata.csv: rows become samples, scores filter them, whatever is wrong is said with line and value."""

import pytest

from fastdiffusers.distillation.data import DataOptions, source
from fastdiffusers.errors import InputError

SQUARES = {"a.png": (8, 8), "b.png": (8, 8)}


def read(folder, text, **options):
    (folder / "metadata.csv").write_text(text, encoding="utf-8")
    found = source(DataOptions(data=str(folder), **options))
    return found, list(found)


def test_rows_become_samples(pictures):
    found, samples = read(
        pictures(SQUARES), 'image,prompt\na.png,"a cat, sitting"\n\nb.png,"two\nlines"\na.png,again\n'
    )
    assert [(s.key, s.caption) for s in samples] == [
        ("metadata.csv:2", "a cat, sitting"),
        ("metadata.csv:4", "two\nlines"),
        ("metadata.csv:6", "again"),  # a quoted line break counts as the file's line
    ]
    assert samples[0].open().size == (8, 8) and found.counts.used == 3 and found.kind == "csv"
    assert found.describe().endswith("metadata.csv', 3 rows")


def test_the_file_itself_may_be_named_and_have_a_byte_order_mark(pictures):
    path = pictures(SQUARES) / "list.csv"
    path.write_text("file_name,text\na.png,x\n", encoding="utf-8-sig")
    assert [sample.caption for sample in source(DataOptions(data=str(path)))] == ["x"]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("a.png", "metadata.csv:2: 1 fields, the header has 2"),
        (",x", "metadata.csv:2: no picture is named"),
        ("a.png, ", "metadata.csv:2: the caption is empty"),
    ],
)
def test_a_bad_row_is_unreadable_and_named(pictures, row, reason):
    found, samples = read(pictures(SQUARES), f"image,prompt\n{row}\nb.png,y\n")
    assert [sample.caption for sample in samples] == ["y"]
    assert found.counts.unreadable == 1 and found.counts.named == [reason]


def test_scores_filter(pictures):
    text = "image,prompt,aesthetic_score,pwatermark\na.png,1,5.5,0.1\na.png,2,4.5,0.1\na.png,3,6,0.9\na.png,4,,0\n"
    found, samples = read(pictures(SQUARES), text, min_aesthetic=5.0, max_watermark=0.5)
    assert [sample.caption for sample in samples] == ["1"]
    assert found.counts.skipped == {"min_aesthetic": 1, "max_watermark": 1, "min_aesthetic (no score)": 1}
    for wrong in ("fine", "nan"):
        found, samples = read(pictures(SQUARES), text.replace("4.5", wrong), min_aesthetic=5.5)
        assert [sample.caption for sample in samples] == ["1", "3"]  # the limit itself passes
        assert found.counts.named == [f"metadata.csv:3: aesthetic_score is '{wrong}', which is no number"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no column 'image' in line 1 but nothing; the header is image,prompt"),
        ("image,words\n", "has no column 'prompt' in line 1 but image, words"),
    ],
)
def test_a_header_without_the_columns_ends_it(pictures, text, message):
    with pytest.raises(InputError, match=message) as caught:
        read(pictures(SQUARES), text)
    assert "\n" not in str(caught.value)


def test_a_score_that_no_row_has_ends_it(pictures):
    with pytest.raises(InputError, match="has no column aesthetic_score, which min_aesthetic needs"):
        read(pictures(SQUARES), "image,prompt\na.png,x\n", min_aesthetic=5.0)


def test_the_fingerprint_changes_with_captions_and_pictures(pictures):
    folder = pictures(SQUARES)
    first = read(folder, "image,prompt\na.png,x\n")[0].fingerprint()
    assert read(folder, "image,prompt\na.png,x\n")[0].fingerprint() == first
    assert read(folder, "image,prompt\na.png,y\n")[0].fingerprint() != first
    (folder / "a.png").write_bytes(b"")
    assert read(folder, "image,prompt\na.png,x\n")[0].fingerprint() != first


def test_what_is_not_utf8_is_said(pictures):
    folder = pictures(SQUARES)
    (folder / "metadata.csv").write_bytes(b"image,prompt\na.png,caf\xe9\n")
    with pytest.raises(InputError, match="is not UTF-8: byte 22 is 0xe9"):
        source(DataOptions(data=str(folder)))
