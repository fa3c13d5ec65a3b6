"""``fastdiff infer --devices``: the same pictures in the same order as one process draws them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fastdiffusers_cli.job import Picture
from fastdiffusers_cli.sharing import split

PROMPTS = ["a red apple", "two blue houses by the sea", "a cat on a mat"]


@pytest.fixture
def words(tmp_path: Path, tiny: Path) -> list[str]:
    (tmp_path / "prompts.txt").write_text("\n".join(PROMPTS))
    return ["--prompts", str(tmp_path / "prompts.txt"), "--model", str(tiny), "--steps", "8"]


@pytest.mark.parametrize(("count", "sizes"), [(1, [5]), (2, [2, 3]), (3, [1, 2, 2]), (5, [1] * 5)])
def test_parts_are_in_order_and_alike(count, sizes):
    pictures = [Picture("", seed, Path(f"{seed}.png")) for seed in range(5)]
    parts = split(pictures, count)
    assert [len(part) for part in parts] == sizes
    assert [one for part in parts for one in part] == pictures


def test_two_processes_draw_what_one_draws(fastdiff, words, tmp_path):
    found = {}
    for name, more in (("one", []), ("two", ["--devices", "2"])):
        out = tmp_path / name / "picture.png"
        out.parent.mkdir()
        accel = ["--accel", "teacache:threshold=0.5:coefficients=identity"]
        done = fastdiff("infer", *words, "--seed", "7", "--grid", "--out", out, *accel, "--json", *more)
        assert done.exit_code == 0, done.stderr
        found[name] = json.loads(done.stdout)
    one, two = found["one"], found["two"]
    assert [image["prompt"] for image in two["images"]] == PROMPTS
    for key in ("prompt", "seed", "truncated"):
        assert [image[key] for image in two["images"]] == [image[key] for image in one["images"]]
    assert two["accelerators"] == one["accelerators"] and two["notes"] == one["notes"]
    for first, second in zip(one["images"], two["images"], strict=True):
        assert Path(first["path"]).name == Path(second["path"]).name
        assert Path(first["path"]).read_bytes() == Path(second["path"]).read_bytes()
        assert first["accelerators"] == second["accelerators"]
    grids = [np.asarray(Image.open(report["grid"]).convert("RGB")) for report in (one, two)]
    np.testing.assert_array_equal(*grids)


def test_more_devices_than_pictures_are_not_started(fastdiff, tiny, tmp_path):
    words = ["a red apple", "--model", tiny, "--steps", "2", "--out", tmp_path / "a.png", "--devices", "3", "--json"]
    done = fastdiff("infer", *words)
    assert done.exit_code == 0, done.stderr
    assert len(json.loads(done.stdout)["images"]) == 1


def test_a_process_that_fails_is_quoted(fastdiff, words, tmp_path, monkeypatch):
    monkeypatch.setenv("FASTDIFFUSERS_BLOCK", "flux")  # seen by the other process alone: ours has its plugins already
    done = fastdiff("infer", *words, "--out", tmp_path / "a.png", "--devices", "2")
    assert done.exit_code == 2
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert line.startswith("error: process 2 of 2 ended early: ") and len(line) > 40


def test_a_picture_is_drawn_again_by_one(fastdiff, tiny, tmp_path):
    done = fastdiff("infer", "a red apple", "--model", tiny, "--steps", "2", "--out", tmp_path / "a.png", "--json")
    assert done.exit_code == 0, done.stderr
    refused = fastdiff("infer", "--from", tmp_path / "a.png", "--devices", "2")
    assert refused.exit_code == 2 and "--devices cannot be given beside it" in refused.stderr
