"""Shards of LAION's kind, written by hand: three layouts, four ways to keep a picture, filters, and what is wrong."""

import base64
import gzip
import io
import json

import numpy as np
import pytest
from PIL import Image

from fastdiffusers.distillation.data import DataOptions, source
from fastdiffusers.errors import InputError


def encoded(form="JPEG", size=(10, 6)):
    stream = io.BytesIO()
    Image.fromarray(np.full((size[1], size[0], 3), 200, np.uint8)).save(stream, form)
    return stream.getvalue()


BASE64 = base64.b64encode(encoded()).decode()


def wide(metadata, picture=BASE64):
    return "\t".join(["key0", "http://somewhere/p.jpg", json.dumps(metadata), "", "512", picture, "more"])


def shard(tmp_path, *lines, name="part-00000"):
    (tmp_path / name).write_bytes("".join(line + "\n" for line in lines).encode())
    (tmp_path / "files.txt").write_text(name + "\n")
    return tmp_path


def read(root, **options):
    found = source(DataOptions(data=str(root), file_list=str(root / "files.txt"), **options))
    return found, list(found)


def test_json_in_the_third_column_and_the_picture_in_the_sixth(tmp_path):
    root = shard(tmp_path, wide({"caption_en": "second best", "blip_caption_en": "a  red\tapple"}), wide({"TEXT": "b"}))
    found, samples = read(root)
    assert [(s.key, s.caption) for s in samples] == [("part-00000:1", "a red apple"), ("part-00000:2", "b")]
    assert samples[0].open().size == (10, 6) and found.kind == "laion"


def test_caption_nothing_picture(tmp_path):
    _, samples = read(shard(tmp_path, f"a cat\t\t{BASE64}", f"a dog\t\t{BASE64}"))
    assert [s.caption for s in samples] == ["a cat", "a dog"] and samples[1].open().size == (10, 6)


def test_six_columns_with_several_captions(tmp_path):
    _, samples = read(shard(tmp_path, f"id7\ta\x01 cat|another one\t1\t2\t3\t{BASE64}"))
    assert samples[0].caption == "a cat"


@pytest.mark.parametrize("form", ["PNG", "WEBP", "GIF"])
def test_pictures_of_other_formats_are_recognised(tmp_path, form):
    _, samples = read(shard(tmp_path, wide({"caption": "x"}, base64.b64encode(encoded(form)).decode())))
    assert samples[0].open().size == (10, 6)


def test_pictures_by_path_bytes_and_data_uri(tmp_path):
    (tmp_path / "p.jpg").write_bytes(encoded())
    lines = [
        wide({"caption": "path"}, "p.jpg"),
        wide({"caption": "bytes"}, repr(encoded("PNG"))),
        wide({"caption": "uri"}, f"data:image/jpeg;base64,{BASE64}"),
        f"{json.dumps({'caption': 'in the JSON', 'image': BASE64})}\t",
    ]
    _, samples = read(shard(tmp_path, *lines))
    assert [s.caption for s in samples] == ["path", "bytes", "uri", "in the JSON"]
    assert [s.open().size for s in samples] == [(10, 6)] * 4


def test_compressed_shards_lists_of_lists_and_blank_lines(tmp_path):
    (tmp_path / "one.gz").write_bytes(gzip.compress(f"a\t\t{BASE64}\n\nb\t\t{BASE64}\n".encode()))
    shard(tmp_path, f"c\t\t{BASE64}")
    (tmp_path / "inner.filelist").write_text("one.gz\n\n# a remark\npart-00000\n")
    (tmp_path / "files.txt").write_text("inner.filelist\n")
    found, samples = read(tmp_path)
    assert [(s.key, s.caption) for s in samples] == [("one.gz:1", "a"), ("one.gz:3", "b"), ("part-00000:1", "c")]
    assert found.units == 2


def test_filters_by_scores_in_the_json(tmp_path):
    lines = [
        wide({"caption": "1", "aesthetic": 6.1, "pwatermark": 0.2}),
        wide({"caption": "2", "aesthetic": 4, "pwatermark": 0.2}),
        wide({"caption": "3", "aesthetic": "7", "pwatermark": 0.51}),
        wide({"caption": "4", "AESTHETIC_SCORE": 9, "pwatermark": None}),
    ]
    found, samples = read(shard(tmp_path, *lines), min_aesthetic=6, max_watermark=0.5)
    assert [s.caption for s in samples] == ["1"]
    assert found.counts.skipped == {"min_aesthetic": 1, "max_watermark": 1, "max_watermark (no score)": 1}


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("only one column", "one column, 'only one column'; columns are separated by tabs"),
        (
            wide({"caption": "x"}, "nothing here"),
            "no column holds a picture (base64, bytes or a path): 'key0 http://some",
        ),
        (wide({"url": "x"}), "no caption in the JSON: it has url; blip_caption_en is usual"),
        (wide({"caption": "x", "width": 3}).replace("}", ""), "column 3 is no JSON ("),
        ("k\tu\t{'blip_caption_en': __import__('os').abort()}\t\t\t" + BASE64, "column 3 is no JSON ("),
        (BASE64 + "\t", "the caption is empty"),
    ],
)
def test_a_bad_line_is_unreadable_and_named(tmp_path, line, reason):
    found, samples = read(shard(tmp_path, f"good\t\t{BASE64}", line))
    assert [s.caption for s in samples] == ["good"]
    assert found.counts.unreadable == 1 and found.counts.named[0].startswith(f"part-00000:2: {reason}")


@pytest.mark.parametrize("picture", [BASE64[:40], BASE64[:-5] + "*****", "b'\\x00'", "missing.png"])
def test_a_bad_picture_is_unreadable_when_it_is_opened(tmp_path, picture):
    from fastdiffusers.distillation.data.sample import UnreadableSample

    _, samples = read(shard(tmp_path, wide({"caption": "x"}, picture)))
    with pytest.raises(UnreadableSample, match=r"no base64|damaged|no known format|does not exist"):
        samples[0].open()


def test_missing_damaged_and_undecodable_shards_do_not_end_it(tmp_path):
    shard(tmp_path, f"good\t\t{BASE64}")
    (tmp_path / "cut.gz").write_bytes(gzip.compress(b"x\t\ty\n" * 99)[:-20])
    (tmp_path / "latin").write_bytes(f"caf\xe9\t\t{BASE64}\n".encode("latin-1"))
    (tmp_path / "files.txt").write_text("lost\ncut.gz\nlatin\npart-00000\n")
    found, samples = read(tmp_path)
    assert [s.caption for s in samples] == ["good"]
    assert found.counts.named[0].startswith("files.txt:1: shard ") and "does not exist" in found.counts.named[0]


def test_any_place_can_be_gone_on_from(tmp_path):
    shard(tmp_path, *(f"{i}\t\t{BASE64}" for i in range(4)))
    shard(tmp_path, *(f"{i}\t\t{BASE64}" for i in range(4, 6)), name="part-00001")
    (tmp_path / "files.txt").write_text("part-00000\npart-00001\n")
    found, _ = read(tmp_path)
    places = list(found.items())
    for i, (cursor, _) in enumerate(places):
        assert [item.caption for _, item in found.items(cursor)] == [item.caption for _, item in places[i + 1 :]]


@pytest.mark.parametrize(("text", "message"), [("\n", "names no shard"), ("files.txt.list\n", "names itself")])
def test_a_list_that_leads_nowhere_ends_it(tmp_path, text, message):
    (tmp_path / "files.txt").write_text(text)
    (tmp_path / "files.txt.list").write_text("files.txt.list\n")
    with pytest.raises(InputError, match=message):
        read(tmp_path)


def test_the_list_alone_is_enough(tmp_path):
    root = shard(tmp_path, f"a\t\t{BASE64}")
    found = source(DataOptions(data=str(root / "files.txt")))
    assert found.kind == "laion" and [s.caption for s in found] == ["a"]
