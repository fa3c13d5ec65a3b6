"""``fastdiff accel matrix``: tables, JSON, files with marks, and the READMEs that it keeps true."""

from __future__ import annotations

import importlib.util
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MARKED = "before\n\n<!-- accel-matrix {} -->\nold\n<!-- /accel-matrix -->\n\nafter\n"


@pytest.mark.parametrize("name", ["README.md", "README.zh-CN.md"])
def test_the_readmes_tell_what_goes_together_now(name, fastdiff, monkeypatch):
    """As an installation without extras has it."""
    from fastdiffusers_compile import choice

    find = importlib.util.find_spec
    absent = lambda name: None if name in choice.ONNX_NEEDS else find(name)  # noqa: E731
    monkeypatch.setattr(choice.importlib.util, "find_spec", absent)
    done = fastdiff("accel", "matrix", "--check", ROOT / name)
    assert done.exit_code == 0, done.stderr


def test_it_tells_claims_and_pairs(fastdiff, tiny, nap_plugin):
    shown = " ".join(fastdiff("accel", "matrix", "--model", tiny).stdout.split())
    assert "claim only one of these at a time" in shown and "slumber doze, nap, recall" in shown
    assert "all that claim blocks all that claim slumber goes" in shown
    assert "dream is refused by itself: it needs 'rem', which tiny does not offer" in shown
    assert "tiny, 28 steps: of " in shown
    content = json.loads(fastdiff("accel", "matrix", "--model", tiny, "--steps", 12, "--json").stdout)
    assert content["settings"]["steps"] == 12 and content["model"]["name"] == "tiny"
    pairs = {tuple(sorted(some["accelerators"])): some for some in content["together"]}
    assert pairs["nap", "seacache"]["goes"] is True
    assert pairs["doze", "nap"] == {
        "accelerators": ["doze", "nap"],
        "goes": False,
        "reason": "both doze and nap claim 'slumber', which only one can have; use one of them",
        "cause": "claim slumber",
    }
    assert {"claims": ["slumber"], "one_of": ["doze", "nap", "recall"]} in content["claims"]
    assert "trials" not in content


@pytest.mark.parametrize(
    ("language", "words"),
    [("en", ["only one of these at a time", " | ran |"]), ("zh", ["以下每次只能用一个", " | 已运行 |"])],
)
def test_it_writes_between_the_marks_and_nowhere_else(language, words, fastdiff, tiny, nap_plugin, tmp_path):
    file = tmp_path / "page.md"
    file.write_text(MARKED.format(language), encoding="utf-8")
    stale = fastdiff("accel", "matrix", "--model", tiny, "--check", file)
    assert stale.exit_code == 2 and stale.stderr.count("\n") == 1
    assert f"the table in '{file}' is out of date; run `fastdiff accel matrix --write {file}`" in stale.stderr
    done = fastdiff("accel", "matrix", "--model", tiny, "--write", file, "--check", file)
    assert done.exit_code == 0 and done.stdout == ""
    text = file.read_text(encoding="utf-8")
    assert text.startswith(f"before\n\n<!-- accel-matrix {language} -->\n")
    assert text.endswith("<!-- /accel-matrix -->\n\nafter\n") and "\nold\n" not in text
    assert all(word in text for word in words) and "| `slumber` | `doze`, `nap`, `recall` |" in text
    fastdiff("accel", "matrix", "--model", tiny, "--write", file)
    assert file.read_text(encoding="utf-8") == text
    assert fastdiff("accel", "matrix", "--model", tiny, "--steps", 12, "--check", file).exit_code == 2


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("no marks", "has no place for the table; put `<!-- accel-matrix en -->`"),
        (MARKED.format("fr"), "unknown language 'fr' in a mark; valid: en, zh"),
        (None, "cannot be read as UTF-8 text"),
    ],
)
@pytest.mark.parametrize("option", ["--write", "--check"])
def test_a_file_without_a_place_for_it_is_refused_in_one_line(content, words, option, fastdiff, tmp_path):
    file = tmp_path / "page.md"
    if content is not None:
        file.write_text(content)
    done = fastdiff("accel", "matrix", option, file)
    assert done.exit_code == 2 and words in done.stderr and done.stderr.count("\n") == 1
    assert content is None or file.read_text() == content


@pytest.mark.slow
def test_run_draws_with_every_pair_that_goes(fastdiff, tiny, nap_plugin):
    from fastdiffusers.plugins import registry

    left = {"nap", "seacache", "fbcache"}
    for name in set(registry().accelerators) - left:
        registry().accelerators.pop(name)
    done = fastdiff("accel", "matrix", "--model", tiny, "--steps", 10, "--run")
    assert done.exit_code == 0, done.stderr
    shown = " ".join(done.stdout.split())
    for name in ("seacache", "fbcache"):
        assert re.search(rf"{name}, nap ran|nap, {name} ran", shown)
    assert shown.count("slept 1 times") == 2
    registry().accelerators["nap"] = replace(registry().accelerators["nap"], trial="depth=9")
    done = fastdiff("accel", "matrix", "--model", tiny, "--steps", 10, "--run", "--json")
    assert done.exit_code == 2
    assert done.stderr.startswith("error: 2 of 2 combinations failed; the first: nap had no effect: NO EFFECT: slept")
    trials = json.loads(done.stdout)["trials"]
    assert [trial["ran"] for trial in trials] == [False, False]


def test_run_says_when_there_is_nothing_to_run(fastdiff, tiny):
    from fastdiffusers.plugins import registry

    registry.cache_clear()
    try:
        for name in set(registry().accelerators) - {"seacache", "fbcache"}:
            registry().accelerators.pop(name)
        done = fastdiff("accel", "matrix", "--model", tiny, "--run")
    finally:
        registry.cache_clear()
    assert done.exit_code == 0 and "no two of the installed accelerators go together" in done.stdout
