"""The setting in a plan file holds unless the command line gives another; what it needs must be there."""

from __future__ import annotations

import json

import pytest
import yaml
from PIL import Image

from fastdiffusers.png import read_record


@pytest.fixture
def plan(tmp_path):
    """Write plan.yaml with a setting of four steps and whatever else."""

    def write(**more):
        setting = {"steps": 4, "guidance": 2.0, "height": 32, "width": 36, **more}
        (tmp_path / "plan.yaml").write_text(yaml.safe_dump({"accelerators": None, "setting": setting}))
        return "plan.yaml"

    return write


@pytest.fixture
def red(tmp_path):
    Image.new("RGB", (36, 32), "red").save(tmp_path / "red.png")
    return "red.png"


def test_strength_of_the_plan(fastdiff, tiny, tmp_path, plan, red):
    words = ["infer", "a cat", "--model", tiny, "--plan", plan(strength=0.25), "--image", red]
    assert fastdiff(*words).exit_code == 0
    assert read_record(tmp_path / "fastdiff.png")["strength"] == 0.25
    fastdiff(*words, "--strength", 0.5)
    assert read_record(tmp_path / "fastdiff.png")["strength"] == 0.5
    plan()  # one for drawings from a prompt alone
    fastdiff(*words)
    assert read_record(tmp_path / "fastdiff.png")["strength"] == 0.6


def test_true_guidance_of_the_plan(fastdiff, tiny, tmp_path, plan):
    words = ["infer", "a cat", "--model", tiny, "--plan", plan(true_cfg_scale=3.0)]
    done = fastdiff(*words, "--negative", "a dog")
    assert done.exit_code == 0, done.stderr
    assert read_record(tmp_path / "fastdiff.png")["true_cfg_scale"] == 3.0
    with_plan = Image.open(tmp_path / "fastdiff.png").tobytes()
    given = ["--steps", 4, "--guidance", 2, "--size", "36x32", "--negative", "a dog", "--true-cfg", 3]
    fastdiff("infer", "a cat", "--model", tiny, *given)
    assert Image.open(tmp_path / "fastdiff.png").tobytes() == with_plan
    assert fastdiff(*words, "--true-cfg", 1).exit_code == 0
    assert read_record(tmp_path / "fastdiff.png")["true_cfg_scale"] == 1.0


@pytest.mark.parametrize(
    ("setting", "words", "says"),
    [
        ({"strength": 0.5}, "", ["strength 0.5", "--image"]),
        ({"true_cfg_scale": 2.0}, "", ["true_cfg_scale 2", "--negative", "--true-cfg 1"]),
        ({}, "--negative dog", ["--true-cfg"]),
        ({"true_cfg_scale": 2.0}, "--negative dog --true-cfg 1", ["--negative has no effect"]),
        ({"strength": 1.5}, "--image red.png", ["--strength 1.5"]),
        ({"strength": 0.5, "true_cfg_scale": 0.5}, "--image red.png", ["--true-cfg 0.5"]),
    ],
)
def test_what_the_plan_needs_and_the_call_lacks(setting, words, says, fastdiff, tiny, tmp_path, plan, red):
    done = fastdiff("infer", "--model", tiny, "--plan", plan(**setting), *words.split())
    assert done.exit_code == 2
    (line,) = done.stderr.splitlines()
    for word in says:
        assert word in line
    assert not (tmp_path / "fastdiff.png").exists()


def test_explain_shows_the_setting_of_the_plan(fastdiff, tiny, plan):
    words = ["explain", "--model", tiny, "--plan", plan(strength=0.5, true_cfg_scale=2.0, batch=3)]
    setting = json.loads(fastdiff(*words, "--json").stdout)["setting"]
    assert (setting["strength"], setting["true_cfg_scale"], setting["batch"]) == (0.5, 2.0, 3)
    assert "guidance 2, strength 0.5, true guidance 2, 3 pictures at once" in fastdiff(*words).stdout
    assert json.loads(fastdiff(*words, "--n", 2, "--json").stdout)["setting"]["batch"] == 2


def test_a_saved_plan_holds_the_setting_and_is_written_when_it_stands(fastdiff, tiny, tmp_path, red):
    words = ["infer", "--model", tiny, "--steps", 4, "--image", red, "--strength", 0.25]
    assert fastdiff(*words, "--save-plan", "new/plan.yaml").exit_code == 0
    assert yaml.safe_load((tmp_path / "new" / "plan.yaml").read_text())["setting"]["strength"] == 0.25
    fastdiff("infer", "--model", tiny, "--plan", "new/plan.yaml", "--image", red, "--out", "again.png")
    assert (tmp_path / "again.png").read_bytes() == (tmp_path / "fastdiff.png").read_bytes()
