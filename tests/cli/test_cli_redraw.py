"""``fastdiff infer --from``: the same bytes, or a refusal in words."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from fastdiffusers.png import read_record, write_png
from fastdiffusers_cli.app import app


@pytest.fixture(scope="module")
def original(tiny, tmp_path_factory):
    """A picture that was drawn with an accelerator, a negative prompt and a size of its own."""
    path = tmp_path_factory.mktemp("drawn") / "first.png"
    words = ["infer", "a cat", "--negative", "a dog", "--true-cfg", "1.5", "--model", str(tiny), "--steps", "3"]
    accel = "teacache:coefficients=identity:threshold=0.3:force=true"
    done = CliRunner().invoke(app, [*words, "--seed", "4", "--size", "36x32", "--accel", accel, "--out", str(path)])
    assert done.exit_code == 0, done.stderr
    return path


@pytest.fixture
def drawn(fastdiff, original, tmp_path):
    """That picture, in the folder that the test runs in."""
    return Path(shutil.copy(original, tmp_path))


def edit(path, **changes):
    """Write the picture again with a changed record."""
    record = read_record(path)
    record.update(changes)
    with Image.open(path) as image:
        image.load()
    write_png(path, image, record)


def test_the_same_bytes_again(fastdiff, drawn, tiny, tmp_path):
    done = fastdiff("infer", "--from", drawn, "--model", tiny, "--out", "again.png")
    assert done.exit_code == 0, done.stderr
    assert (tmp_path / "again.png").read_bytes() == drawn.read_bytes()
    assert done.stdout.endswith("'again.png' has the very bytes of " + repr(str(drawn)) + "\n")
    shown = fastdiff("infer", "--from", drawn, "--model", tiny, "--out", "again.png", "--json").stdout
    assert json.loads(shown)["same_bytes"] is True


def test_it_says_when_the_bytes_differ(fastdiff, drawn, tiny):
    with Image.open(drawn) as image:
        image.load()
    image.putpixel((0, 0), (1, 2, 3))
    write_png(drawn, image, read_record(drawn))
    done = fastdiff("infer", "--from", drawn, "--model", tiny, "--out", "again.png")
    assert done.exit_code == 0 and "differs from" in done.stdout


def test_image_to_image_again_needs_the_same_picture(fastdiff, tiny, tmp_path):
    Image.new("RGB", (32, 32), "red").save(tmp_path / "red.png")
    Image.new("RGB", (32, 32), "blue").save(tmp_path / "blue.png")
    fastdiff("infer", "a cat", "--image", "red.png", "--strength", 0.5, "--steps", 4, "--model", tiny, "--out", "a.png")
    again = ["infer", "--from", "a.png", "--model", tiny, "--out", "b.png"]
    missing = fastdiff(*again)
    assert missing.exit_code == 2 and "give that picture with --image" in missing.stderr
    other = fastdiff(*again, "--image", "blue.png")
    assert other.exit_code == 2 and "sha256" in other.stderr
    assert fastdiff(*again, "--image", "red.png").exit_code == 0
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_another_model_is_refused_with_both_hashes(fastdiff, drawn, tiny, tmp_path):
    from fastdiffusers.models.info import describe

    other = tmp_path / "other"
    shutil.copytree(tiny, other)
    config = other / "scheduler" / "scheduler_config.json"
    config.write_text(config.read_text() + "\n")
    done = fastdiff("infer", "--from", drawn, "--model", other)
    assert done.exit_code == 2 and len(done.stderr.splitlines()) == 1
    assert describe(tiny).sha256[:12] in done.stderr and describe(other).sha256[:12] in done.stderr


def test_a_model_that_is_not_embedded_must_be_pointed_at(fastdiff, drawn):
    done = fastdiff("infer", "--from", drawn)
    assert done.exit_code == 2 and "--model PATH" in done.stderr


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"name": "gone"}, "the accelerator 'gone'"),
        ({"version": "99.0"}, "99.0"),
    ],
)
def test_a_missing_accelerator_or_version_is_refused(fastdiff, drawn, tiny, change, words):
    (entry,) = read_record(drawn)["accelerators"]
    edit(drawn, accelerators=[{**entry, **change}])
    done = fastdiff("infer", "--from", drawn, "--model", tiny)
    assert done.exit_code == 2 and words in done.stderr and "installed here" in done.stderr


def test_another_paddle_is_only_noted(fastdiff, drawn, tiny):
    edit(drawn, versions={"fastdiffusers": "0.0.1", "paddle": "3.0.0"})
    done = fastdiff("infer", "--from", drawn, "--model", tiny, "--out", "again.png")
    assert done.exit_code == 0
    assert "drawn with fastdiffusers 0.0.1" in done.stderr and "drawn with paddle 3.0.0" in done.stderr


@pytest.mark.parametrize(
    "more", [["a dog"], ["--steps", 3], ["--accel", "teacache"], ["--seed", 0], ["--n", 1], ["--grid"], ["--size", 32]]
)
def test_nothing_else_goes_with_from(fastdiff, drawn, tiny, more):
    done = fastdiff("infer", *more, "--from", drawn, "--model", tiny)
    assert done.exit_code == 2 and "cannot be given beside it" in done.stderr


@pytest.mark.parametrize(
    "change", [{"steps": "many"}, {"seed": True}, {"prompt": None}, {"model": {}}, {"accelerators": {}}, {"width": 0}]
)
def test_a_tampered_record_is_one_line(fastdiff, drawn, tiny, change):
    edit(drawn, **change)
    done = fastdiff("infer", "--from", drawn, "--model", tiny)
    assert done.exit_code == 2 and len(done.stderr.splitlines()) == 1 and done.stderr.startswith("error: ")


def test_a_grid_is_not_drawn_again(fastdiff, tiny):
    fastdiff("infer", "--model", tiny, "--steps", 1, "--n", 2, "--grid", "--out", "all.png")
    done = fastdiff("infer", "--from", "all.png", "--model", tiny)
    assert done.exit_code == 2 and "all-1.png" in done.stderr
