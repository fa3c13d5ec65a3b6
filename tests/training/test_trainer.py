"""The loop: learning, killing, resuming, interrupting, NaN, workers, files."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file, save_file
from tiny_task import TARGET, TinyConfig, TinyTask

from fastdiffusers.errors import InputError, NumericalError, WeightsError
from fastdiffusers.training import checkpoint
from fastdiffusers.training.launch import build, train
from fastdiffusers.training.log import TrainingLog
from fastdiffusers.training.recipe import config_to_dict, load_recipe
from fastdiffusers.training.trainer import Trainer

HERE = Path(__file__).parent


def recipe(*words: str) -> TinyConfig:
    return load_recipe(
        TinyConfig, None, ["steps=24", "batch=12", "warmup_steps=2", "lr=0.02", "checkpoint_every=6", *words]
    )


def events(folder: Path, kind: str) -> list[dict]:
    lines = (folder / "log.jsonl").read_text().splitlines()
    return [event for event in map(json.loads, lines) if event["event"] == kind]


def start(folder: Path, *words: str, **variables: str) -> subprocess.Popen:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), *sys.path]), "OMP_NUM_THREADS": "1"}
    environment.update(variables)
    command = [sys.executable, str(HERE / "tiny_task.py"), str(folder), "steps=24", "batch=12", "warmup_steps=2"]
    command += ["lr=0.02", "checkpoint_every=6", *words]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def wait_for(path: Path, process: subprocess.Popen) -> None:
    for _ in range(2400):
        if path.exists():
            return
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.05)
    raise AssertionError(f"{path} did not appear")


def test_learns_and_leaves_its_files(tmp_path):
    figures = train(
        TARGET, recipe("steps=60", "sample_every=30", "log_every=10", "keep_checkpoints=3", "ema=0.8"), tmp_path
    )
    lines = events(tmp_path, "train")
    assert [line["step"] for line in lines] == [10, 20, 30, 40, 50, 60]
    assert lines[-1]["loss"] < 0.5 * lines[0]["loss"]
    assert {"samples_per_s", "eta_s", "grad", "lr", "bias"} <= lines[0].keys()
    assert [event["step"] for event in events(tmp_path, "validation")] == [30, 60]
    assert Image.open(tmp_path / "samples" / "step-00000030.png").size == (6, 4)
    assert [path.name for path in checkpoint.checkpoints(tmp_path / "checkpoints")] == [
        f"step-{step:08d}" for step in (48, 54, 60)
    ]
    assert figures["training"]["samples"] == 720
    assert json.loads((tmp_path / "result.json").read_text())["error"] == figures["error"]


def test_the_same_recipe_gives_the_same_bits_and_another_seed_does_not(tmp_path):
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        train(TARGET, recipe(f"seed={seed}"), tmp_path / name)
    a, b, c = ((tmp_path / name / "weights.json").read_text() for name in "abc")
    assert a == b != c


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_killed_and_resumed_equals_uninterrupted_bit_for_bit(tmp_path, workers):
    words = f"workers={workers}"
    train(TARGET, recipe(words), tmp_path / "whole")
    process = start(tmp_path / "cut", words, "delay=0.05")
    wait_for(tmp_path / "cut" / "checkpoints" / "step-00000012", process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "cut" / "weights.json").exists()
    newest = checkpoint.checkpoints(tmp_path / "cut" / "checkpoints")[-1]
    first = json.loads((newest / "state.json").read_text())
    assert first["step"] in (12, 18) and first["position"] == 12 * first["step"]
    second = start(tmp_path / "cut", words, "delay=0.05")
    assert second.wait(timeout=60) == 0, second.communicate()[0]
    assert events(tmp_path / "cut", "start")[-1]["step"] == first["step"]
    whole, cut = ((tmp_path / name / "weights.json").read_text() for name in ("whole", "cut"))
    assert whole == cut


def test_ctrl_c_saves_says_how_to_go_on_and_exits_130(tmp_path):
    process = start(tmp_path, "delay=0.05", "steps=400", "checkpoint_every=300", "log_every=1")
    wait_for(tmp_path / "log.jsonl", process)
    while not events(tmp_path, "train"):
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=30)[0]
    assert process.returncode == 130
    saved = checkpoint.checkpoints(tmp_path / "checkpoints")
    assert len(saved) == 1
    assert f"interrupted: stopped after step {int(saved[0].name[5:])}; the same command goes on from there" in said
    assert "Traceback" not in said


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="finds the worker through Linux's /proc")
def test_a_worker_that_dies_ends_the_training_in_words(tmp_path):
    process = start(tmp_path, "workers=2", "delay=0.05", "steps=4000", "log_every=1")
    wait_for(tmp_path / "log.jsonl", process)
    while not events(tmp_path, "train"):
        time.sleep(0.05)
    worker = int(Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()[0])
    os.kill(worker, signal.SIGKILL)
    said = process.communicate(timeout=30)[0]
    assert process.returncode != 0
    assert "WorkerLost: a worker process ended early" in said


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="finds the worker through Linux's /proc")
def test_workers_do_not_outlive_the_first(tmp_path):
    process = start(tmp_path, "workers=2", "delay=0.05", "steps=4000", "log_every=1")
    wait_for(tmp_path / "log.jsonl", process)
    worker = int(Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()[0])
    process.kill()
    process.wait()
    mapped = {line.split()[-1] for line in Path(f"/proc/{worker}/maps").read_text().splitlines() if "fastdiff-" in line}
    assert not any(Path(name).exists() for name in mapped), "the gang's file has kept its name"
    for _ in range(200):
        state = Path(f"/proc/{worker}/stat")
        if not state.exists() or ") Z " in state.read_text():
            return
        time.sleep(0.05)
    raise AssertionError("the worker goes on alone")


@pytest.mark.slow
def test_workers_share_the_batch_and_agree_with_one(tmp_path):
    for workers in (1, 3):
        train(TARGET, recipe(f"workers={workers}", "chance=false"), tmp_path / str(workers))
    one, three = (json.loads((tmp_path / name / "weights.json").read_text()) for name in "13")
    for name, value in one.items():
        np.testing.assert_allclose(np.array(three[name]), np.array(value), atol=2e-5, err_msg=name)


def test_a_checkpoint_goes_on_with_another_number_of_owners(tmp_path):
    """Each worker saves what it owns; reading puts the parts together whoever wrote them."""
    train(TARGET, recipe("workers=2"), tmp_path)
    newest = checkpoint.checkpoints(tmp_path / "checkpoints")[-1]
    assert len(list(newest.glob("part-*.safetensors"))) == 2
    names = {"inner.weight", "inner.bias", "outer.weight", "outer.bias"}
    assert checkpoint.read_tensors(newest, "weight").keys() == names
    assert checkpoint.read_tensors(newest, "average", {"inner.bias"}).keys() == {"inner.bias"}
    assert checkpoint.read_tensors(newest, "muon").keys() == {"momentum/inner.weight"}
    assert checkpoint.read_tensors(newest, "adamw", {"outer.bias"}).keys() == {
        f"{kind}/outer.bias" for kind in ("first", "second", "count")
    }


def test_groups_have_their_own_rate_and_decay_and_every_step_its_own_rows(tmp_path):
    task, groups = build(TARGET, config_to_dict(recipe("chance=false", "clip=0", "warmup_steps=0", "weight_decay=0")))
    trainer = Trainer(task, groups, tmp_path)
    seen = []
    task.batch = lambda rows, rng: seen.extend(rows.tolist()) or TinyTask.batch(task, rows, rng)
    before = {name: value.numpy() for name, value in trainer.parameters.items()}
    for trainer.step_index in range(4):
        trainer._one_step(TrainingLog(tmp_path, "", 1, 1, 1, quiet=True))
        if trainer.step_index == 0:
            change = {name: value.numpy() - before[name] for name, value in trainer.parameters.items()}
    # AdamW's first step is lr·sign(gradient): 0.02 for the bias of one group, half of that in the other
    np.testing.assert_allclose(np.abs(change["inner.bias"]), 0.02, rtol=1e-4)
    decayed = change["outer.weight"] + 0.01 * 0.01 * before["outer.weight"]
    np.testing.assert_allclose(np.abs(decayed), 0.01, rtol=1e-3)
    assert sorted(seen) == sorted(set(seen)) and len(seen) == 48


def test_only_the_groups_named_by_the_step_are_updated(tmp_path):
    task, groups = build(TARGET, config_to_dict(recipe()))
    trainer = Trainer(task, groups, tmp_path)
    task.step = lambda batch, index: replace(TinyTask.step(task, batch, index), updates=frozenset({"outer"}))
    before = {name: value.numpy() for name, value in trainer.parameters.items()}
    trainer._one_step(TrainingLog(tmp_path, "", 1, 1, 1, quiet=True))
    moved = {name for name, value in trainer.parameters.items() if (value.numpy() != before[name]).any()}
    assert moved == {"outer.weight", "outer.bias"}


def test_a_bad_step_is_skipped_counted_and_forgotten(tmp_path):
    figures = train(TARGET, recipe("nan_from=5", "nan_until=8", "max_bad_steps=4"), tmp_path)
    assert figures["training"]["skipped_steps"] == 3
    assert [event["step"] for event in events(tmp_path, "skipped")] == [6, 7, 8]
    assert np.isfinite(figures["error"])


def test_too_many_bad_steps_in_a_row_stop_in_words(tmp_path):
    with pytest.raises(NumericalError, match=r"not finite in 4 steps in a row, the last is step 9; try a smaller lr"):
        train(TARGET, recipe("nan_from=5", "max_bad_steps=4"), tmp_path)


def test_another_recipe_does_not_go_on_from_a_checkpoint(tmp_path):
    train(TARGET, recipe(), tmp_path)
    with pytest.raises(InputError, match=r"was made with width=8, now it is 9; use the same recipe"):
        train(TARGET, recipe("width=9"), tmp_path)
    assert train(TARGET, recipe("steps=30"), tmp_path)["training"]["steps"] == 30
    assert events(tmp_path, "start")[-1]["step"] == 24
    train(TARGET, recipe("width=9"), tmp_path, resume="never")
    saved = checkpoint.checkpoints(tmp_path / "checkpoints")
    assert [checkpoint.read_state(path)["recipe"]["width"] for path in saved] == [9, 9]
    assert [path.name for path in saved] == ["step-00000018", "step-00000024"]


def test_a_damaged_checkpoint_is_named(tmp_path):
    train(TARGET, recipe(), tmp_path)
    newest = checkpoint.checkpoints(tmp_path / "checkpoints")[-1]
    part = newest / "part-0.safetensors"
    part.write_bytes(part.read_bytes()[:-10])
    with pytest.raises(WeightsError, match=r"step-00000024' is damaged \(.*\); remove it to go on from an older one"):
        train(TARGET, recipe("steps=30"), tmp_path)
    (newest / "state.json").unlink()
    assert train(TARGET, recipe("steps=30"), tmp_path)["training"]["steps"] == 30


def test_a_checkpoint_beyond_the_last_step_is_refused(tmp_path):
    train(TARGET, recipe(), tmp_path)
    with pytest.raises(
        InputError, match=r"^recipe key 'steps' is 12, but .*step-00000024' has made 24; valid is at le"
    ):
        train(TARGET, recipe("steps=12"), tmp_path)
    assert json.loads((tmp_path / "result.json").read_text())["training"]["steps"] == 24
    train(TARGET, recipe("steps=12"), tmp_path, resume="never")
    assert json.loads((tmp_path / "result.json").read_text())["training"]["samples"] == 144


@pytest.mark.parametrize("lost", ["part-0.safetensors", "outer.bias", "average/inner.weight", "second/outer.bias"])
def test_a_checkpoint_that_lacks_something_is_named(tmp_path, lost):
    train(TARGET, recipe("steps=2"), tmp_path)
    newest = checkpoint.checkpoints(tmp_path / "checkpoints")[-1]
    part = newest / "part-0.safetensors"
    tensors = load_file(part)
    part.unlink()
    if lost != part.name:
        save_file({name: value for name, value in tensors.items() if lost not in name}, part)
    with pytest.raises(WeightsError, match=r"is damaged \(\d+ tensors are missing, as '.*'\); remove it to go on"):
        train(TARGET, recipe("steps=3"), tmp_path)


@pytest.mark.parametrize(
    "change", [None, [], {"step": None}, {"step": "2"}, {"seconds": None}, {"recipe": []}, {"updates": None}]
)
def test_a_state_file_that_is_no_state_is_named(tmp_path, change):
    folder = checkpoint.checkpoint_path(tmp_path, 2)
    folder.mkdir()
    state = {
        "format": checkpoint.FORMAT,
        "step": 2,
        "skipped": 0,
        "bad_steps": 0,
        "seconds": 1.5,
        "recipe": {},
        "updates": {},
    }
    (folder / "state.json").write_text(json.dumps(state))
    assert checkpoint.read_state(folder) == state
    (folder / "state.json").write_text(json.dumps({**state, **change} if isinstance(change, dict) else change))
    with pytest.raises(WeightsError, match=r"is damaged \(state.json .*\); remove it to go on from an older one"):
        checkpoint.read_state(folder)


def test_an_unfinished_checkpoint_does_not_count(tmp_path):
    folder = tmp_path / "checkpoints"
    checkpoint.begin(folder, 7)
    (folder / "step-00000009").mkdir()
    assert checkpoint.checkpoints(folder) == []
