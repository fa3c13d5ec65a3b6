"""What a step does to the weights: accumulation, the groups' own β1, averages, scaled losses."""

import json
from dataclasses import replace

import numpy as np
import pytest
from tiny_task import TARGET, TinyConfig, TinyTask
from watched_task import TARGET as WATCHED
from watched_task import WatchedConfig

from fastdiffusers.training import checkpoint
from fastdiffusers.training.launch import build, train
from fastdiffusers.training.log import TrainingLog
from fastdiffusers.training.recipe import config_to_dict, load_recipe
from fastdiffusers.training.trainer import Trainer


def recipe(*words: str, config=TinyConfig):
    return load_recipe(config, None, ["steps=8", "batch=12", "warmup_steps=2", "lr=0.02", "checkpoint_every=4", *words])


def steps(trainer: Trainer, folder, count: int) -> list[dict]:
    """Take some steps by hand; their metrics."""
    found = []
    for trainer.step_index in range(count):
        found.append(trainer._one_step(TrainingLog(folder, "", 1, 1, 1, quiet=True)))
    return found


def trainer_of(folder, *words: str, target=TARGET, config=TinyConfig, change=lambda groups: groups) -> Trainer:
    task, groups = build(target, config_to_dict(recipe(*words, config=config)))
    return Trainer(task, change(groups), folder)


def test_accumulated_batches_are_one_large_batch(tmp_path):
    """Without chance: the same rows, the same mean gradient, the same loss."""
    large = trainer_of(tmp_path, "batch=12", "chance=false")
    small = trainer_of(tmp_path, "batch=4", "accumulation=3", "chance=false")
    for one, three in zip(steps(large, tmp_path, 4), steps(small, tmp_path, 4), strict=True):
        assert three == pytest.approx(one, rel=1e-4)
    for name, value in large.parameters.items():
        np.testing.assert_allclose(small.parameters[name].numpy(), value.numpy(), atol=2e-5, err_msg=name)


def test_every_part_of_an_accumulated_step_has_its_own_rows_and_chance(tmp_path):
    trainer = trainer_of(tmp_path, "batch=4", "accumulation=3")
    seen = []
    task = trainer.task
    task.batch = lambda rows, rng: seen.append((rows.tolist(), rng.random())) or TinyTask.batch(task, rows, rng)
    steps(trainer, tmp_path, 4)
    rows = [row for part, _ in seen for row in part]
    assert len(rows) == 48 and len(set(rows)) == 48  # of 50 examples
    assert len({chance for _, chance in seen}) == 12


def test_accumulated_samples_are_counted_and_resumed(tmp_path):
    words = ("batch=4", "accumulation=3")
    figures = train(TARGET, recipe(*words), tmp_path / "whole")
    assert figures["training"]["samples"] == 96
    state = checkpoint.read_state(checkpoint.checkpoint_path(tmp_path / "whole" / "checkpoints", 4))
    assert state["position"] == 48
    train(TARGET, recipe(*words, "steps=4", "schedule=constant"), tmp_path / "cut")
    train(TARGET, recipe(*words, "schedule=constant"), tmp_path / "cut")
    train(TARGET, recipe(*words, "schedule=constant"), tmp_path / "uncut")
    cut, uncut = ((tmp_path / name / "weights.json").read_text() for name in ("cut", "uncut"))
    assert cut == uncut


def test_a_group_has_its_own_beta1(tmp_path):
    """β1 = 0 keeps the last gradient alone, 0.9 a tenth of it and nine tenths of what was."""
    trainer = trainer_of(
        tmp_path, "muon=false", "clip=0", change=lambda groups: [groups[0], replace(groups[1], beta1=0.0)]
    )
    gradients = []
    update = trainer.state.adamw.update

    def watched(parameters, found, *rest):
        gradients.append({name: value.numpy() for name, value in found.items()})
        update(parameters, found, *rest)

    trainer.state.adamw.update = watched
    steps(trainer, tmp_path, 2)
    (inner, outer), (inner_2, outer_2) = gradients[:2], gradients[2:]
    first = {name: value.numpy() for name, value in trainer.state.adamw.first.items()}
    np.testing.assert_array_equal(first["outer.bias"], outer_2["outer.bias"])
    expected = 0.9 * 0.1 * inner["inner.bias"] + 0.1 * inner_2["inner.bias"]
    np.testing.assert_allclose(first["inner.bias"], expected, rtol=1e-5)
    assert outer["outer.bias"].any()


def test_without_its_own_a_group_has_the_recipes_beta1_beta2_and_epsilon(tmp_path):
    trainer = trainer_of(tmp_path, "muon=false", "clip=0", "adam_beta1=0.5", "adam_beta2=0.75", "adam_epsilon=0.001")
    trainer.state.adamw.update, update = None, trainer.state.adamw.update
    found = {}

    def watched(parameters, gradients, lr, decay, beta1):
        found.update({name: value.numpy().astype(np.float64) for name, value in gradients.items()})
        assert beta1 == 0.5
        update(parameters, gradients, lr, decay, beta1)

    trainer.state.adamw.update = watched
    before = trainer.parameters["inner.bias"].numpy().astype(np.float64)
    (metrics,) = steps(trainer, tmp_path, 1)
    g = found["inner.bias"]
    np.testing.assert_allclose(
        trainer.parameters["inner.bias"].numpy(), before - metrics["lr"] * g / (np.abs(g) + 0.001), rtol=1e-5
    )
    np.testing.assert_allclose(trainer.state.adamw.second["inner.bias"].numpy(), 0.25 * g * g, rtol=1e-5)


def test_averages_count_the_updates_of_their_own_group(tmp_path):
    """d = (1 + t)/(10 + t) with t the group's own updates: a turn of the others leaves average and count alone."""
    trainer = trainer_of(tmp_path, "turns=true", "ema=0.9", target=WATCHED, config=WatchedConfig)
    average = trainer.state.ema.average
    expected = {name: value.numpy().astype(np.float64) for name, value in trainer.parameters.items()}
    counts = {"inner": 0, "outer": 0}
    for trainer.step_index in range(5):
        turn = ("outer", "inner")[trainer.step_index % 2]
        kept = {name: value.numpy() for name, value in average.items() if not name.startswith(turn)}
        trainer._one_step(TrainingLog(tmp_path, "", 1, 1, 1, quiet=True))
        decay = (1 + counts[turn]) / (10 + counts[turn])
        counts[turn] += 1
        for name, value in trainer.parameters.items():
            if name.startswith(turn):
                expected[name] = decay * expected[name] + (1 - decay) * value.numpy()
                np.testing.assert_allclose(average[name].numpy(), expected[name], atol=1e-6)
            else:
                np.testing.assert_array_equal(average[name].numpy(), kept[name])
    assert trainer.state.updates == counts == {"inner": 2, "outer": 3}


def test_the_counts_survive_in_the_checkpoint(tmp_path):
    words = ("turns=true", "ema=0.9", "schedule=constant")
    train(WATCHED, recipe(*words, "steps=4", config=WatchedConfig), tmp_path / "cut")
    train(WATCHED, recipe(*words, config=WatchedConfig), tmp_path / "cut")
    train(WATCHED, recipe(*words, config=WatchedConfig), tmp_path / "uncut")
    state = checkpoint.read_state(checkpoint.checkpoint_path(tmp_path / "cut" / "checkpoints", 4))
    assert state["updates"] == {"inner": 2, "outer": 2}
    cut, uncut = (json.loads((tmp_path / name / "weights.json").read_text()) for name in ("cut", "uncut"))
    assert cut == uncut


def test_a_group_that_is_not_averaged_has_no_average_and_is_exported_as_it_is(tmp_path):
    trainer = trainer_of(tmp_path, "ema=0.9", change=lambda groups: [groups[0], replace(groups[1], averaged=False)])
    steps(trainer, tmp_path, 3)
    assert trainer.state.ema.average.keys() == {"inner.weight", "inner.bias"}
    outer = trainer.parameters["outer.weight"].numpy()
    inner = trainer.parameters["inner.weight"].numpy()
    with trainer.state.averaged_weights():
        np.testing.assert_array_equal(trainer.parameters["outer.weight"].numpy(), outer)
        assert (trainer.parameters["inner.weight"].numpy() != inner).any()
    np.testing.assert_array_equal(trainer.parameters["inner.weight"].numpy(), inner)


def test_a_power_of_two_as_loss_scale_changes_no_bit(tmp_path):
    plain, scaled = (trainer_of(tmp_path, *words) for words in ((), ("loss_scale=1024",)))
    assert steps(plain, tmp_path, 4) == steps(scaled, tmp_path, 4)
    for name, value in plain.parameters.items():
        np.testing.assert_array_equal(scaled.parameters[name].numpy(), value.numpy(), err_msg=name)
