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


def test_the_original_is_never_written_over(fastdiff, drawn, tiny, tmp_path, monkeypatch):
    before = drawn.read_bytes()
    (tmp_path / "link.png").symlink_to(drawn)
    again = ["infer", "--from", drawn, "--model", tiny]
    with monkeypatch.context() as patched:
        patched.setattr("fastdiffusers.load", lambda *_: pytest.fail("the model was loaded"))
        for out in (drawn, "first.png", "link.png"):
            done = fastdiff(*again, "--out", out)
            assert done.exit_code == 2 and "would overwrite" in done.stderr and len(done.stderr.splitlines()) == 1
    assert drawn.read_bytes() == before and (tmp_path / "link.png").is_symlink()
    done = fastdiff(*again)
    assert done.exit_code == 0, done.stderr
    assert drawn.read_bytes() == before == (tmp_path / "first-again.png").read_bytes()


def test_nor_is_the_picture_it_starts_from(fastdiff, tiny, tmp_path):
    Image.new("RGB", (32, 32), "red").save(tmp_path / "fastdiff.png")
    done = fastdiff("infer", "--image", "fastdiff.png", "--model", tiny, "--steps", 2)
    assert done.exit_code == 2 and "--out 'fastdiff.png' would overwrite" in done.stderr
    assert Image.open(tmp_path / "fastdiff.png").getpixel((0, 0)) == (255, 0, 0)


def test_another_calibration_is_refused_with_both_fingerprints(fastdiff, tiny, tmp_path):
    from fastdiffusers.models.info import describe
    from fastdiffusers_caching.polynomial import Polynomial, store

    model = tmp_path / "model"
    shutil.copytree(tiny, model)
    info = describe(model)
    first, second = (Polynomial((factor, 0.0), "by hand", 0.0, 1.0, 1.0) for factor in (1.0, 0.5))
    store(first, info)
    accel = "teacache:threshold=0.3:force=true"
    done = fastdiff("infer", "--model", model, "--steps", 3, "--accel", accel, "--out", "a.png")
    assert done.exit_code == 0, done.stderr
    assert read_record(tmp_path / "a.png")["accelerators"][0]["fingerprint"] == first.fingerprint
    again = ["infer", "--from", "a.png", "--model", model, "--out", "b.png"]
    store(second, info)
    done = fastdiff(*again)
    assert done.exit_code == 2 and len(done.stderr.splitlines()) == 1
    for word in ("teacache", first.fingerprint, second.fingerprint):
        assert word in done.stderr
    assert not (tmp_path / "b.png").exists()
    store(first, info)
    assert fastdiff(*again).exit_code == 0
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


@pytest.mark.parametrize(("depth", "generations"), [(2, 0), (3, 1)], ids=["known-at-once", "known-afterwards"])
def test_a_fingerprint_is_compared_as_soon_as_it_is_known(
    depth, generations, fastdiff, tiny, tmp_path, nap_plugin, monkeypatch
):
    from fastdiffusers.pipelines.flux import FluxPipeline

    monkeypatch.setenv("NAP_DATA", "old")
    fastdiff("infer", "--model", tiny, "--steps", 1, "--accel", f"recall:depth={depth}", "--out", "a.png")
    assert read_record(tmp_path / "a.png")["accelerators"][0]["fingerprint"] == "old"
    monkeypatch.setenv("NAP_DATA", "new")
    calls, draw = [], FluxPipeline.__call__
    monkeypatch.setattr(FluxPipeline, "__call__", lambda *a, **k: calls.append(0) or draw(*a, **k))
    done = fastdiff("infer", "--from", "a.png", "--model", tiny, "--out", "b.png")
    assert done.exit_code == 2 and "recall of fingerprint old, here it has new" in done.stderr
    assert len(calls) == generations and not (tmp_path / "b.png").exists()


def test_a_record_without_fingerprints_can_still_be_drawn_again(fastdiff, drawn, tiny):
    (entry,) = read_record(drawn)["accelerators"]
    del entry["fingerprint"]
    edit(drawn, accelerators=[entry])
    assert fastdiff("infer", "--from", drawn, "--model", tiny).exit_code == 0
    edit(drawn, accelerators=[{**entry, "fingerprint": 3}])
    done = fastdiff("infer", "--from", drawn, "--model", tiny)
    assert done.exit_code == 2 and "'fingerprint' of 'teacache' is 3" in done.stderr


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
    edit(drawn, versions={"fastdiffusers": "0.0.1", "paddle": "3.0.0", "pillow": "9.0"})
    done = fastdiff("infer", "--from", drawn, "--model", tiny, "--out", "again.png")
    assert done.exit_code == 0
    assert "drawn with fastdiffusers 0.0.1" in done.stderr and "drawn with paddle 3.0.0" in done.stderr
    assert "drawn with pillow 9.0" in done.stderr


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
