"""Pictures with their record inside: the round trip, the same bytes every time, and every way a file can be wrong."""

import json
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from fastdiffusers.errors import InputError
from fastdiffusers.png import FORMAT, KEYWORD, grid, read_record, write_png

RECORD = {"prompt": "ein Fuchs, 狐狸 🦊\n“two lines”", "seed": 2**64 - 1, "plan": {"z": [1, 2.5, None], "a": True}}


def picture(width=9, height=7, seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def with_text(path, text, **options):
    chunk = PngInfo()
    chunk.add_itxt(KEYWORD, text, **options)
    picture().save(path, pnginfo=chunk)
    return path


def test_round_trip(tmp_path):
    path = tmp_path / "deeper" / "a.png"
    write_png(path, picture(), RECORD)
    assert read_record(path) == RECORD == read_record(str(path))
    np.testing.assert_array_equal(np.asarray(Image.open(path)), np.asarray(picture()))
    assert [entry.name for entry in path.parent.iterdir()] == ["a.png"]


def test_other_programs_see_canonical_json(tmp_path):
    write_png(tmp_path / "a.png", picture(), {"b": 1, "a": "é"})
    with Image.open(tmp_path / "a.png") as image:
        assert image.text == {KEYWORD: f'{{"a":"é","b":1,"format":{FORMAT}}}'}


def test_same_bytes_whatever_the_image_carried(tmp_path):
    write_png(tmp_path / "a.png", picture(), {"a": 1, "b": 2})
    other = picture()
    other.info = {"dpi": (300, 300), "icc_profile": b"x" * 40, "gamma": 0.5, "comment": "old"}
    write_png(tmp_path / "b.png", other, {"b": 2, "a": 1})
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert other.info["comment"] == "old"


def test_replaces_and_leaves_the_old_file_when_it_cannot(tmp_path):
    path = tmp_path / "a.png"
    write_png(path, picture(), {"n": 1})
    write_png(path, picture(), {"n": 2})
    with pytest.raises(InputError, match="cannot be written as JSON"):
        write_png(path, picture(), {"n": float("nan")})
    assert read_record(path) == {"n": 2}
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "CMYK"])
def test_modes(tmp_path, mode):
    write_png(tmp_path / "a.png", picture().convert(mode), {})
    with Image.open(tmp_path / "a.png") as image:
        assert image.mode == (mode if mode in ("L", "RGB", "RGBA") else "RGB")
    assert read_record(tmp_path / "a.png") == {}


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"x": object()}, "JSON"),
        ({"x": float("inf")}, "JSON"),
        ({"x": "\ud800"}, "JSON"),
        ({"x": np.float32(1)}, "JSON"),
        ({"format": 3}, "reserved"),
    ],
)
def test_bad_record(tmp_path, record, message):
    with pytest.raises(InputError, match=message) as error:
        write_png(tmp_path / "a.png", picture(), record)
    assert "\n" not in str(error.value) and not list(tmp_path.iterdir())


def test_unwritable_place(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="cannot write"):
        write_png(tmp_path / "file" / "a.png", picture(), {})


def test_record_of_another_writer_may_be_compressed(tmp_path):
    text = json.dumps({"format": FORMAT, **RECORD})
    assert read_record(with_text(tmp_path / "a.png", text, zip=True)) == RECORD


def raw(*chunks):
    body = b"\x89PNG\r\n\x1a\n"
    for kind, content in chunks:
        body += struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
    return body


def itxt(rest):
    return raw((b"iTXt", KEYWORD.encode() + b"\0" + rest), (b"IEND", b""))


BOMB = b"\1\0\0\0" + zlib.compress(bytes(20 << 20))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a PNG"),
        (b"\xff\xd8\xff\xe0 a JPEG", "not a PNG"),
        (raw((b"IEND", b"")), "no record inside"),
        (raw((b"tEXt", b"parameters\0steps: 20"), (b"iTXt", b"XML:com.adobe.xmp\0..."), (b"IEND", b"")), "no record"),
        (raw((b"IHDR", bytes(13))), "cut off"),
        (itxt(b"\0\0\0\0{}")[:-20], "cut off"),
        (itxt(b"\0\0\0\0{}").replace(b"{}", b"[]"), "damaged"),
        (itxt(b""), "broken"),
        (itxt(b"\0\0only a language"), "broken"),
        (itxt(b"\0\0\0\0\xff\xfe"), "broken"),
        (itxt(b"\1\0\0\0not zlib"), "broken"),
        (itxt(BOMB), "too long"),
        (itxt(b"\0\0\0\0{\n 'a': 1}"), "not valid JSON"),
        (itxt(b'\0\0\0\0{"format":1,"x":NaN}'), "not valid JSON"),
        (itxt(b"\0\0\0\0" + b"[" * 200000), "not valid JSON"),
        (itxt(b"\0\0\0\0[1]"), "no format number"),
        (itxt(b'\0\0\0\0{"a":1}'), "no format number"),
        (itxt(b'\0\0\0\0{"format":"1"}'), "no format number"),
        (itxt(b'\0\0\0\0{"format":99}'), "format 99.*up to 1"),
    ],
)
def test_files_that_cannot_be_read(tmp_path, content, message):
    path = tmp_path / "b.png"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message) as error:
        read_record(path)
    assert "\n" not in str(error.value) and str(path) in str(error.value)


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(InputError, match="No such file"):
        read_record(tmp_path / "none.png")
    with pytest.raises(InputError, match="cannot read"):
        read_record(tmp_path)


def test_picture_saved_again_has_no_record(tmp_path):
    write_png(tmp_path / "a.png", picture(), RECORD)
    with Image.open(tmp_path / "a.png") as image:
        image.save(tmp_path / "b.png")
    with pytest.raises(InputError, match="saved it again"):
        read_record(tmp_path / "b.png")


def test_grid():
    images = [picture(seed=i) for i in range(5)]
    sheet = grid(images, columns=3, pad=2)
    assert sheet.size == (3 * 9 + 2 * 2, 2 * 7 + 2)
    pixels = np.asarray(sheet)
    for i, (top, left) in enumerate([(0, 0), (0, 11), (0, 22), (9, 0), (9, 11)]):
        np.testing.assert_array_equal(pixels[top : top + 7, left : left + 9], np.asarray(images[i]))
    assert (pixels[7:9] == 255).all() and (pixels[:, 9:11] == 255).all() and (pixels[9:, 22:] == 255).all()


def test_grid_defaults_and_edges():
    images = [picture(seed=i) for i in range(5)]
    assert grid(images).size == grid(images, 3).size
    assert grid(images, 9, pad=0).size == (5 * 9, 7)
    np.testing.assert_array_equal(np.asarray(grid(images[:1])), np.asarray(images[0]))
    with pytest.raises(InputError, match="no pictures"):
        grid([])
    with pytest.raises(InputError, match="0 columns"):
        grid(images, 0)
    with pytest.raises(InputError, match="-1 pixels"):
        grid(images, pad=-1)
    with pytest.raises(InputError, match="9 × 7, 9 × 8"):
        grid([picture(), picture(height=8)])


def test_does_not_import_paddle():
    code = "import sys, fastdiffusers.png, fastdiffusers.metrics; sys.exit('paddle' in sys.modules)"
    root = Path(__file__).parents[1]
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=root).returncode == 0
