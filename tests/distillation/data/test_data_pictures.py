"""From any picture to a size that the model takes: upright, on white, centred, antialiased."""

import io

import numpy as np
import pytest
from PIL import Image

from fastdiffusers.distillation.data.buckets import bucket_sizes, fitted, nearest_bucket
from fastdiffusers.distillation.data.picture import read_bytes, read_file, upright
from fastdiffusers.distillation.data.sample import UnreadableSample
from fastdiffusers.errors import InputError


@pytest.mark.parametrize(("resolution", "unit"), [(1024, 16), (512, 16), (768, 16), (96, 16), (32, 4)])
def test_sizes_are_whole_units_of_about_equal_area(resolution, unit):
    sizes = bucket_sizes(resolution, unit, True)
    assert sizes[0] == (resolution, resolution) and len(set(sizes)) == len(sizes) > 2
    for height, width in sizes:
        assert height % unit == width % unit == 0 and (width, height) in sizes
        assert 0.9 <= height * width / resolution**2 <= 1.1 and max(height, width) <= 2 * min(height, width)
    assert bucket_sizes(resolution, unit, False) == [(resolution, resolution)]


def test_a_resolution_that_the_model_cannot_take_is_refused():
    with pytest.raises(InputError, match="resolution is 1000; this model needs a multiple of 16"):
        bucket_sizes(1000, 16, True)


def test_the_nearest_aspect_is_taken():
    sizes = bucket_sizes(1024, 16, True)
    assert sizes[nearest_bucket((700, 700), sizes)] == (1024, 1024)
    assert sizes[nearest_bucket((200, 300), sizes)] == (832, 1280)  # 1.5 lies nearest to 1.54
    assert sizes[nearest_bucket((300, 200), sizes)] == (1280, 832)
    assert sizes[nearest_bucket((10, 1000), sizes)] == (768, 1344)


def test_the_centre_is_kept_and_small_detail_averaged():
    wide = np.zeros((40, 120, 3), np.uint8)
    wide[:, 40:80] = 255
    assert fitted(Image.fromarray(wide), (20, 20)).min() > 230  # the outer thirds are cut off
    checks = Image.fromarray((np.indices((64, 64)).sum(axis=0) % 2 * 255).astype(np.uint8)).convert("RGB")
    small = fitted(checks, (8, 8))
    assert small.shape == (8, 8, 3) and np.abs(small.astype(int) - 127).max() < 10


def test_a_picture_is_turned_as_its_camera_was():
    picture = Image.new("RGB", (30, 20), "black")
    picture.paste("white", (0, 0, 30, 5))
    tag = Image.Exif()
    tag[0x0112] = 6  # to be turned by 90° clockwise
    stream = io.BytesIO()
    picture.save(stream, "JPEG", exif=tag, quality=95)
    turned = np.asarray(read_bytes(stream.getvalue()))
    assert turned.shape == (30, 20, 3) and turned[:, -3:].mean() > 240 and turned[:, :10].mean() < 10


def test_what_is_transparent_is_white(tmp_path):
    picture = Image.new("RGBA", (4, 2), (255, 0, 0, 255))
    picture.putpixel((1, 0), (0, 0, 0, 0))
    picture.putpixel((2, 0), (0, 0, 0, 128))
    picture.save(tmp_path / "a.png")
    read = read_file(tmp_path / "a.png")
    assert read.mode == "RGB"
    assert [read.getpixel((x, 0)) for x in range(3)] == [(255, 0, 0), (255, 255, 255), (127, 127, 127)]
    picture.convert("P").save(tmp_path / "p.gif", transparency=0)
    assert read_file(tmp_path / "p.gif").mode == "RGB"


@pytest.mark.parametrize("mode", ["L", "LA", "P", "CMYK", "1", "I;16"])
def test_every_mode_becomes_rgb(mode):
    grey = {"L": 128, "LA": (128, 255), "P": 7, "CMYK": (0, 0, 0, 127), "1": 1, "I;16": 32768}[mode]
    read = upright(Image.new(mode, (2, 2), grey))
    assert read.mode == "RGB" and (mode in ("P", "1") or abs(read.getpixel((0, 0))[0] - 128) <= 1)


def test_what_is_no_picture_is_unreadable(tmp_path):
    (tmp_path / "a.png").write_bytes(b"no picture")
    with pytest.raises(UnreadableSample, match=r"a\.png' is of no known format"):
        read_file(tmp_path / "a.png")
    with pytest.raises(UnreadableSample, match=r"b\.png' does not exist"):
        read_file(tmp_path / "b.png")
    stream = io.BytesIO()
    Image.effect_noise((64, 64), 50).save(stream, "PNG")
    with pytest.raises(UnreadableSample, match="a picture of 900 bytes is damaged"):
        read_bytes(stream.getvalue()[:900])
