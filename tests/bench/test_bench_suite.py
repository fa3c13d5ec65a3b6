"""Suite files: what they may say, and one line for what they may not."""

from pathlib import Path

import pytest

from fastdiffusers.bench import Suite, parse_arm, read_suite
from fastdiffusers.errors import InputError

SUITES = sorted((Path(__file__).parents[2] / "benchmarks" / "suites").glob("*.yaml"))


def written(folder, text):
    path = folder / "suite.yaml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_all_keys_are_read(tmp_path):
    (tmp_path / "model").mkdir()
    text = """
description: everything
model: model
prompts: [a red apple, ""]
steps: 12
guidance: 2
size: 64x96
seed: 3
runs: 2
arms: [none, "fast:x=1", none@6]
controls: false
features: true
replay: true
peers: points.json
"""
    assert read_suite(written(tmp_path, text)) == Suite(
        "everything",
        str(tmp_path / "model"),
        ("a red apple", ""),
        12,
        2.0,
        "64x96",
        3,
        2,
        ("none", "fast:x=1", "none@6"),
        False,
        True,
        True,
        tmp_path / "points.json",
    )


def test_paths_are_relative_to_the_suite_and_a_model_may_be_a_name(tmp_path):
    found = read_suite(written(tmp_path, "model: flux-emoji\nprompts: some/prompts.txt\n"))
    assert found.model == "flux-emoji" and found.prompts == tmp_path / "some" / "prompts.txt"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("stps: 4", "unknown key 'stps'; valid: description, model"),
        ("steps: 0", "steps must be an integer of at least 1, got 0"),
        ("steps: true", "steps must be an integer"),
        ("steps: '4'", "steps must be an integer"),
        ("guidance: -1", "guidance must be a number of at least 0, got -1"),
        ("guidance: .nan", "guidance must be a number"),
        ("seed: -1", "seed must be an integer of at least 0"),
        ("arms: teacache", "arms must be a list of arms"),
        ("arms: []", "arms must be a list of arms"),
        ("prompts: []", "prompts must be a list of texts"),
        ("prompts: [1]", "prompts must be a list of texts"),
        ("replay: 1", "replay must be true or false, got 1"),
        ("peers: []", "peers must be the name of a JSON file"),
        ("controls: maybe", "controls must be true or false"),
        ("- a", "is not a mapping"),
        ("", "is not a mapping"),
        ("a: [", "is not valid YAML"),
    ],
)
def test_mistakes_are_one_line(tmp_path, text, message):
    with pytest.raises(InputError) as failure:
        read_suite(written(tmp_path, text))
    assert message in str(failure.value) and "\n" not in str(failure.value)


def test_a_name_is_looked_up_in_the_clone_only(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"not installed with the package.*there is no ./benchmarks/suites here"):
        read_suite("mine")
    folder = tmp_path / "benchmarks" / "suites"
    folder.mkdir(parents=True)
    (folder / "mine.yaml").write_text("steps: 4\n")
    assert read_suite("mine") == Suite(steps=4)
    with pytest.raises(InputError, match="here: mine"):
        read_suite("yours")
    with pytest.raises(InputError, match=r"no suite file 'gone.yaml'; here: mine"):
        read_suite("gone.yaml")


@pytest.mark.parametrize("path", SUITES, ids=lambda path: path.stem)
def test_the_suites_of_this_repository_can_be_read(path):
    suite = read_suite(str(path))
    assert suite.description
    for arm in suite.arms or ():
        parse_arm(arm)


def test_there_are_suites():
    assert {"quick", "teacache"} <= {path.stem for path in SUITES}
