"""Figures and pictures in a tracker: what it is told, and that it is missed before anything is trained."""

import sys
from types import ModuleType

import pytest
from tiny_task import TARGET, TinyConfig

from fastdiffusers.errors import MissingDependency
from fastdiffusers.training.launch import train
from fastdiffusers.training.recipe import load_recipe

WORDS = ["steps=6", "batch=12", "warmup_steps=0", "sample_every=3", "log_every=2", "tracker=visualdl"]


@pytest.fixture
def writers(monkeypatch):
    """VisualDL's writer as far as it is used; what was written."""
    made: list = []

    class LogWriter:
        def __init__(self, logdir):
            self.logdir, self.scalars, self.pictures, self.closed = logdir, [], [], False
            made.append(self)

        def add_scalar(self, tag, value, step):
            self.scalars.append((tag, value, step))

        def add_image(self, tag, img, step):
            self.pictures.append((tag, img.shape, step))

        def close(self):
            self.closed = True

    package = ModuleType("visualdl")
    package.LogWriter = LogWriter
    package.__spec__ = __import__("importlib.machinery").machinery.ModuleSpec("visualdl", None)
    monkeypatch.setitem(sys.modules, "visualdl", package)
    return made


def test_figures_and_pictures_arrive(tmp_path, writers):
    train(TARGET, load_recipe(TinyConfig, None, WORDS), tmp_path)
    (writer,) = writers
    assert writer.closed and writer.logdir == str(tmp_path / "visualdl")
    assert [step for tag, _, step in writer.scalars if tag == "train/loss"] == [2, 4, 6]
    assert [step for tag, _, step in writer.scalars if tag == "validation/error"] == [3, 6]
    assert all(isinstance(value, float) for _, value, _ in writer.scalars)
    assert [(tag, step) for tag, _, step in writer.pictures] == [("samples", 3), ("samples", 6)]


def test_nothing_is_written_unless_asked_for(tmp_path, writers):
    train(TARGET, load_recipe(TinyConfig, None, [*WORDS[:-1], "tracker=none"]), tmp_path)
    assert writers == []


def test_a_tracker_that_is_not_installed_is_missed_at_once(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "visualdl", None)
    with pytest.raises(MissingDependency, match="tracker=visualdl needs the package visualdl: `pip install visualdl`"):
        train(TARGET, load_recipe(TinyConfig, None, WORDS), tmp_path / "out")
    assert not (tmp_path / "out").exists()
