"""Whole distillations: what validations draw, and that a cut one goes on bit for bit."""

import numpy as np
import pytest
from fake_store import ALL, CELLS, DMD2, RELATIONAL
from safetensors.numpy import load_file
from tiny_roles import disturb

import fastdiffusers.distillation.validation as validation_module
from fastdiffusers.distillation.networks import STUDENT, TEACHER
from fastdiffusers.training.trainer import Trainer


@pytest.mark.parametrize("sampler", ["euler", "lcm"])
def test_validations_draw_large_pictures_a_few_at_a_time_and_the_same(make, monkeypatch, sampler):
    task, _ = make(validation_prompts=12, teacher_steps=3, sampler=sampler)
    disturb(task.networks.parameters[STUDENT])
    whole = task.validation
    assert len(whole.captions) == 12 and len(set(whole.captions)) == 3
    sizes = []
    predict = task.networks.predict
    monkeypatch.setattr(
        task.networks, "predict", lambda role, x, *more: sizes.append(len(x)) or predict(role, x, *more)
    )
    monkeypatch.setattr(validation_module, "TOKENS_AT_ONCE", 5 * CELLS)
    for role, steps in ((TEACHER, 3), (STUDENT, 2)):
        expected = whole.teacher if role == TEACHER else whole.draw(STUDENT, 2)
        np.testing.assert_allclose(whole.draw(role, steps), expected, atol=1e-5)
    assert max(sizes) == 5
    figures = task.validate()
    latents = whole.draw(STUDENT, task.config.drawn_steps)
    assert figures["rmse"] == pytest.approx(float(np.sqrt(((latents - whole.teacher) ** 2).mean())), rel=1e-5)
    hurried = whole.draw(TEACHER, task.config.drawn_steps)
    assert figures["teacher_rmse"] == pytest.approx(float(np.sqrt(((hurried - whole.teacher) ** 2).mean())), rel=1e-5)


def test_validations_are_of_the_size_that_is_trained(make):
    task, _ = make(validation_prompts=4, teacher_steps=2)
    assert task.validation.teacher_pictures.shape == (4, 32, 32, 3)
    task, _ = make(validation_prompts=4, teacher_steps=2, resolution=16)
    assert task.validation.teacher_pictures.shape == (4, 16, 16, 3)
    assert task.describe()[3].endswith(" ".join(f"{edge:.4f}" for edge in task.grid((16, 16)).edges))


class Crash(Exception):
    """Ends a training as a kill would."""


@pytest.mark.parametrize(
    "changes",
    [{}, {"target_ema": 0.9, "ema": 0.9, "compat": "none"}, {**DMD2, "ema": 0.9}, RELATIONAL],
    ids=["plain", "averaged", "dmd2", "relational"],
)
def test_cut_and_resumed_is_the_same_adapter_bit_for_bit(make, tmp_path, changes):
    """Student, target, heads and critic with their optimisers, the turns, data and noise all go on where they were."""
    words = {**ALL, **changes, "steps": 7, "checkpoint_every": 2, "sample_every": 3, "opponent_warmup": 1}
    words |= {"validation_prompts": 2, "teacher_steps": 2}

    def run(folder, crash_at: int | None = None) -> None:
        task, groups = make(**words)
        if crash_at is not None:
            step = task.step
            task.step = lambda batch, index: _crash() if index == crash_at else step(batch, index)
        Trainer(task, groups, folder).run()

    run(tmp_path / "whole")
    with pytest.raises(Crash):
        run(tmp_path / "cut", crash_at=5)
    assert not (tmp_path / "cut" / "adapter.safetensors").exists()
    run(tmp_path / "cut")
    whole, cut = (load_file(tmp_path / name / "adapter.safetensors") for name in ("whole", "cut"))
    assert whole.keys() == cut.keys()
    for name, value in whole.items():
        np.testing.assert_array_equal(cut[name], value, err_msg=name)
    assert any(value.any() for name, value in whole.items() if "lora_B" in name or "lora_up" in name)


def _crash():
    raise Crash
