"""The best weights by a validation figure, and what a task may put beside its weights."""

import json
import signal
from pathlib import Path

import numpy as np
import paddle
import pytest
from safetensors.numpy import load_file, save_file
from watched_task import TARGET, Crash, WatchedConfig, WatchedTask

from fastdiffusers.errors import InputError, WeightsError
from fastdiffusers.training import checkpoint
from fastdiffusers.training.best import Best
from fastdiffusers.training.launch import build, train
from fastdiffusers.training.recipe import config_to_dict, load_recipe
from fastdiffusers.training.trainer import Interrupted


def recipe(*words: str) -> WatchedConfig:
    base = ["steps=24", "batch=12", "warmup_steps=2", "lr=0.02", "checkpoint_every=6", "sample_every=4"]
    return load_recipe(WatchedConfig, None, [*base, "schedule=constant", *words])


def weights(folder: Path) -> dict:
    return json.loads((folder / "weights.json").read_text())


def events(folder: Path, kind: str) -> list[dict]:
    return [e for e in map(json.loads, (folder / "log.jsonl").read_text().splitlines()) if e["event"] == kind]


@pytest.mark.parametrize("ema", ["0", "0.9"])
def test_the_best_weights_are_exported(tmp_path, ema):
    figures = train(TARGET, recipe("best_by=distance", f"ema={ema}"), tmp_path / "best")
    train(TARGET, recipe("steps=12", f"ema={ema}"), tmp_path / "short")
    train(TARGET, recipe(f"ema={ema}"), tmp_path / "last")
    assert figures["best_step"] == 12 and figures["best_value"] == 0.0
    assert weights(tmp_path / "best") == weights(tmp_path / "short") != weights(tmp_path / "last")
    assert [event["step"] for event in events(tmp_path / "best", "best")] == [4, 8, 12]
    assert json.loads((tmp_path / "best" / "result.json").read_text())["best_step"] == 12


@pytest.mark.parametrize("crash", [9, 15, 21])
def test_the_best_survives_a_crash_and_a_resumption(tmp_path, monkeypatch, crash):
    monkeypatch.setattr(WatchedTask, "crash_at", crash)
    with pytest.raises(Crash):
        train(TARGET, recipe("best_by=distance"), tmp_path / "cut")
    monkeypatch.setattr(WatchedTask, "crash_at", None)
    figures = train(TARGET, recipe("best_by=distance"), tmp_path / "cut")
    assert events(tmp_path / "cut", "start")[-1]["step"] == crash // 6 * 6
    assert figures["best_step"] == 12
    train(TARGET, recipe("best_by=distance"), tmp_path / "uncut")
    assert weights(tmp_path / "cut") == weights(tmp_path / "uncut")


@pytest.mark.parametrize("when", ["the pictures", "Ctrl-C"])
def test_the_best_is_seen_though_the_training_ends_at_its_very_step(tmp_path, monkeypatch, when):
    """A checkpoint of a step whose pictures were never looked at would hide it from the resumed run."""
    words = ("best_by=distance", "sample_every=6")
    with monkeypatch.context() as patched:
        if when == "Ctrl-C":
            patched.setattr(WatchedTask, "updated", _interrupting(12, WatchedTask.updated))
        else:
            patched.setattr(WatchedTask, "validate", _crashing(12, WatchedTask.validate))
        with pytest.raises((Crash, Interrupted)):
            train(TARGET, recipe(*words), tmp_path / "cut")
    assert train(TARGET, recipe(*words), tmp_path / "cut")["best_step"] == 12
    train(TARGET, recipe(*words), tmp_path / "uncut")
    assert weights(tmp_path / "cut") == weights(tmp_path / "uncut")


def _crashing(step: int, inner):
    def validate(self):
        if self.at == step:
            raise Crash
        return inner(self)

    return validate


def _interrupting(step: int, inner):
    def updated(self, index, groups):
        inner(self, index, groups)
        if self.at == step:
            signal.raise_signal(signal.SIGINT)

    return updated


def test_what_another_training_left_is_no_best_of_this_one(tmp_path, monkeypatch):
    """Killed before its first checkpoint, then begun anew with another recipe; or begun anew on purpose."""
    monkeypatch.setattr(WatchedTask, "crash_at", 5)
    with pytest.raises(Crash):
        train(TARGET, recipe("best_by=distance", "best_step=4", "width=9"), tmp_path)
    assert Best(tmp_path / "best.safetensors", "distance").step == 4
    monkeypatch.setattr(WatchedTask, "crash_at", None)
    assert train(TARGET, recipe("best_by=distance"), tmp_path)["best_step"] == 12
    figures = train(TARGET, recipe("best_by=distance", "best_step=8"), tmp_path, resume="never")
    assert figures["best_step"] == 8 and figures["best_value"] == 0


def test_an_unknown_figure_is_named(tmp_path):
    with pytest.raises(InputError, match=r"best_by.*'eror'.*distance, error"):
        train(TARGET, recipe("best_by=eror", "steps=4"), tmp_path)


def test_what_is_kept_is_the_least_finite_value(tmp_path):
    best, weight = Best(tmp_path / "best.safetensors", "x"), paddle.zeros([2])
    assert best.value == np.inf
    for step, (value, kept) in enumerate([(np.nan, False), (3.0, True), (3.0, False), (np.inf, False), (2.5, True)]):
        weight.fill_(float(step))
        assert best.offer(step, {"x": value, "y": -1.0}, {"w": weight}) == kept
    assert (best.step, best.value) == (4, 2.5)
    other = Best(tmp_path / "best.safetensors", "x")  # a resumed run
    assert not other.offer(5, {"x": 2.6}, {"w": weight})
    weight.fill_(9.0)
    other.restore({"w": weight})
    assert weight.numpy().tolist() == [4.0, 4.0]
    other.forget()
    other.forget()
    assert other.value == np.inf


def test_a_damaged_best_file_is_named(tmp_path):
    (tmp_path / "best.safetensors").write_bytes(b"no tensors")
    with pytest.raises(WeightsError, match=r"best.safetensors' is damaged \(.*\); remove it to go on without it$"):
        Best(tmp_path / "best.safetensors", "x").offer(1, {"x": 1.0}, {})


def test_buffers_are_in_checkpoints_and_come_back(tmp_path):
    train(TARGET, recipe(), tmp_path)
    newest = checkpoint.checkpoints(tmp_path / "checkpoints")[-1]
    expected = [24.0, 0.5 * sum(range(24))]
    assert checkpoint.read_tensors(newest, "buffer")["seen.count"].numpy().tolist() == expected
    task, _ = build(TARGET, config_to_dict(recipe()))
    tensor = task.count
    checkpoint.load_buffers(newest, task.buffers())
    assert tensor.numpy().tolist() == expected  # in place
    train(TARGET, recipe("steps=30"), tmp_path)
    newest = checkpoint.checkpoints(tmp_path / "checkpoints")[-1]
    assert checkpoint.read_tensors(newest, "buffer")["seen.count"].numpy().tolist() == [30.0, 0.5 * sum(range(30))]


def test_a_checkpoint_without_a_buffer_is_named(tmp_path):
    train(TARGET, recipe("steps=6"), tmp_path)
    part = checkpoint.checkpoints(tmp_path / "checkpoints")[-1] / "part-0.safetensors"
    tensors = load_file(part)
    part.unlink()
    save_file({name: value for name, value in tensors.items() if not name.startswith("buffer/")}, part)
    with pytest.raises(WeightsError, match=r"is damaged \(1 tensors are missing, as 'buffer/seen.count'\)"):
        train(TARGET, recipe("steps=12"), tmp_path)


def test_the_task_hears_of_updates_and_the_user_of_its_notices(tmp_path, monkeypatch, capfd):
    seen = []
    monkeypatch.setattr(WatchedTask, "updated", _listening(seen, WatchedTask.updated))
    train(TARGET, recipe("turns=true", "nan_from=5", "nan_until=6"), tmp_path)
    groups = [frozenset({("outer", "inner")[index % 2]}) for index in range(24)]
    assert seen == [(index, group) for index, group in enumerate(groups) if index != 5]  # not of a skipped step
    assert [event["text"] for event in events(tmp_path, "warning")] == [f"step {step} was odd" for step in (4, 14, 24)]
    assert "WARNING: step 4 was odd" in capfd.readouterr().err


def test_a_step_that_names_no_groups_is_heard_of_as_all(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(WatchedTask, "updated", _listening(seen, WatchedTask.updated))
    train(TARGET, recipe("steps=2"), tmp_path)
    assert seen == [(0, frozenset({"inner", "outer"})), (1, frozenset({"inner", "outer"}))]


def _listening(seen: list, inner):
    def updated(self, index, groups):
        seen.append((index, groups))
        inner(self, index, groups)

    return updated
