"""The commands on a folder of Stable Diffusion, as typed."""

import json
import os
import subprocess
import sys

import pytest


@pytest.fixture(scope="module")
def fastdiff(tmp_path_factory):
    place = tmp_path_factory.mktemp("commands")
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(os.path.abspath(entry or ".") for entry in sys.path)}

    def run(*words):
        return subprocess.run(
            [sys.executable, "-m", "fastdiffusers_cli", *map(str, words)],
            env=env,
            cwd=place,
            capture_output=True,
            text=True,
        )

    return run


def test_infer_draws_with_a_negative_prompt_and_a_cache(fastdiff, checkpoints):
    done = fastdiff(
        *("infer", "a red apple", "--model", checkpoints["sd3"], "--steps", 9, "--negative", "dog"),
        *("--accel", "seacache:threshold=0.6", "--json"),
    )
    assert done.returncode == 0, done.stderr
    content = json.loads(done.stdout)
    assert content["model"]["family"] == "sd3" and content["settings"]["guidance"] == 7.0
    assert content["settings"]["negative_prompt"] == "dog"
    assert content["accelerators"][0]["engaged"] and "skipped" in content["accelerators"][0]["effect"]
    assert done.stderr == ""


def test_bench_compares_on_such_a_model(fastdiff, checkpoints, tmp_path):
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("a cat\n")
    done = fastdiff(
        *("bench", "--model", checkpoints["sd3"], "--steps", 9, "--runs", 1, "--prompts", prompts),
        *("--accel", "taylorseer", "--json"),
    )
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)["rows"]
    assert [row["accel"] for row in rows] == ["none", "taylorseer"] and rows[1]["engaged"]


REFUSED = [
    ("sd15", ["--accel", "seacache"], "seacache is refused: it needs 'blocks'"),
    ("sd3", ["--true-cfg", "2", "--negative", "x"], "is guided by --guidance"),
    ("sd3", ["--negative", "x", "--guidance", "1"], "--negative has no effect with --guidance 1"),
    ("sdxl", ["--size", "33x32"], "width 33 is not valid; it must be a multiple of 2"),
]


@pytest.mark.parametrize(("family", "words", "told"), REFUSED, ids=[told for *_, told in REFUSED])
def test_what_cannot_be_had_is_one_line_with_code_2(fastdiff, checkpoints, family, words, told):
    done = fastdiff("infer", "a cat", "--model", checkpoints[family], *words)
    assert done.returncode == 2 and told in done.stderr and done.stderr.count("\n") == 1, done.stderr


def test_a_picture_to_start_from_and_the_same_bytes_again(fastdiff, checkpoints, tmp_path):
    from PIL import Image

    Image.new("RGB", (8, 8), "red").save(tmp_path / "x.png")
    model = ("--model", checkpoints["sd3"])
    start = ("--image", tmp_path / "x.png")
    drawn = tmp_path / "drawn.png"
    done = fastdiff("infer", "a cat", *model, *start, "--steps", 10, "--strength", 0.5, "--out", drawn)
    assert done.returncode == 0, done.stderr
    again = fastdiff("infer", "--from", drawn, *model, *start, "--json", "--out", tmp_path / "again.png")
    assert json.loads(again.stdout)["same_bytes"] is True, again.stderr
