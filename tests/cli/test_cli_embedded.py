"""Bare commands: they use the embedded model, its prompts and its words."""

from __future__ import annotations

import json
import shutil

import pytest

from fastdiffusers import zoo
from fastdiffusers.png import read_record

CARD = {"prompts": ["a cat on a mat", "a house"], "words": ["a", "cat", "on", "mat", "house"], "limits": "it is tiny"}


@pytest.fixture
def embedded(tiny, tmp_path_factory, monkeypatch):
    """The tiny model in the place of flux-emoji."""
    here = tmp_path_factory.mktemp("zoo")
    folder = here / zoo.EMBEDDED["flux-emoji"]
    shutil.copytree(tiny, folder)
    (folder / "fastdiff.json").write_text(json.dumps(CARD))
    monkeypatch.setattr(zoo, "_HERE", here)
    monkeypatch.setattr(zoo, "FROZEN", {})
    return folder


def test_a_changed_embedded_model_is_refused_by_name_and_opened_by_path(fastdiff, embedded, monkeypatch):
    monkeypatch.setattr(zoo, "FROZEN", {"flux-emoji": "f" * 64})
    done = fastdiff("infer", "a house", "--steps", 1)
    assert done.exit_code == 2 and done.stdout == ""
    assert "were changed" in done.stderr and "released was ffffffffffff" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert fastdiff("infer", "a house", "--steps", 1, "--model", embedded).exit_code == 0


def test_bare_infer_draws_the_first_built_in_prompt_and_can_redraw_it(fastdiff, embedded, tmp_path):
    done = fastdiff("infer")
    assert done.exit_code == 0 and done.stderr == ""
    assert done.stdout.startswith("flux-emoji, 32x32, 28 steps, guidance 3.5, float32\nfastdiff.png  'a cat on a mat'")
    assert read_record(tmp_path / "fastdiff.png")["model"]["name"] == "flux-emoji"
    again = fastdiff("infer", "--from", "fastdiff.png", "--out", "again.png")
    assert again.exit_code == 0, again.stderr
    assert (tmp_path / "again.png").read_bytes() == (tmp_path / "fastdiff.png").read_bytes()


def test_words_it_was_never_shown_are_noted(fastdiff, embedded):
    done = fastdiff("infer", "A hous on a comet", "--steps", 1)
    assert done.exit_code == 0
    (line,) = done.stderr.splitlines()
    assert line.startswith("note: flux-emoji was trained on 5 words and has never seen 'hous', 'comet'")
    assert "hous: house" in line
    notes = json.loads(fastdiff("infer", "a comet", "--steps", 1, "--json").stdout)["notes"]
    assert len(notes) == 1 and "'comet'" in notes[0]


def test_bare_explain_and_models(fastdiff, embedded):
    assert fastdiff("explain").exit_code == 0
    assert fastdiff("explain", "--accel", "teacache:coefficients=identity").stdout.startswith("flux-emoji (flux;")
    shown = " ".join(fastdiff("models").stdout.split())
    assert "flux-emoji (flux)" in shown and "a cat on a mat; a house" in shown and "it is tiny" in shown
    (entry,) = json.loads(fastdiff("models", "--json").stdout)["models"]
    assert entry["card"] == CARD


def test_a_plan_of_an_embedded_model_names_it(fastdiff, embedded, tmp_path):
    fastdiff("explain", "--accel", "none", "--steps", 2, "--save-plan", "plan.yaml")
    shown = json.loads(fastdiff("infer", "--plan", "plan.yaml", "--json").stdout)
    assert shown["model"]["name"] == "flux-emoji" and shown["settings"]["steps"] == 2


def test_a_missing_embedded_model_is_said(fastdiff, tmp_path, monkeypatch):
    monkeypatch.setattr(zoo, "_HERE", tmp_path / "nowhere")
    assert fastdiff("models").stdout == "flux-emoji: not part of this installation\n"
    done = fastdiff("infer")
    assert done.exit_code == 2 and "flux-emoji" in done.stderr and len(done.stderr.splitlines()) == 1
