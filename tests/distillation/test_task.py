"""Terms and roles put together: whose turn it is, who learns from it, and who is told which guidance."""

import itertools
import json

import numpy as np
import paddle
import pytest
from fake_store import ALL, DMD2
from tiny_roles import disturb

from fastdiffusers.distillation.export import student_layers
from fastdiffusers.distillation.health import BLIND_STEPS
from fastdiffusers.distillation.networks import CRITIC, STUDENT, TARGET, TEACHER
from fastdiffusers.distillation.task import DistillTask
from fastdiffusers.distillation.terms.adversarial import HEADS
from fastdiffusers.training.log import TrainingLog
from fastdiffusers.training.trainer import Trainer
from fastdiffusers.weights.lora import write_lora


def scene_of(task: DistillTask, index: int = 0, count: int = 3):
    return task.scene(*task.batch(np.arange(count), np.random.default_rng(index)), index)


def moved(task: DistillTask, groups: list, folder, steps: int) -> list[set[str]]:
    """The groups whose weights change in each step of a training."""
    trainer = Trainer(task, groups, folder)
    found = []
    for trainer.step_index in range(steps):
        before = {name: value.numpy() for name, value in trainer.parameters.items()}
        trainer._one_step(TrainingLog(folder, "", 1, 1, 1, quiet=True))
        changed = {n for n, value in trainer.parameters.items() if (value.numpy() != before[n]).any()}
        found.append({group.name for group in groups if changed & group.parameters.keys()})
        assert all(value.grad is None for value in trainer.parameters.values())
    return found


def test_turns_alternate_and_each_moves_only_its_own(make, tmp_path):
    task, groups = make(**ALL)
    assert [group.name for group in groups] == [STUDENT, HEADS, CRITIC]
    teacher = {name: value.numpy() for name, value in task.pipe.transformer.named_parameters() if value.stop_gradient}
    opponents = {HEADS, CRITIC}
    assert moved(task, groups, tmp_path, 4) == [opponents, {STUDENT}, opponents, {STUDENT}]
    for name, value in task.pipe.transformer.named_parameters():
        if name in teacher:
            np.testing.assert_array_equal(value.numpy(), teacher[name], err_msg=name)


@pytest.mark.parametrize("changes", [{}, {"train": "full", "dmd_critic_full": True}, {"recompute": True}])
def test_dmd2_moves_critic_and_student_in_turn(make, tmp_path, changes):
    """Head and critic have one optimiser; where all is trained in full, the teacher stays what it was."""
    task, groups = make(**{**DMD2, **changes})
    teacher = {name: value.numpy() for name, value in task.networks.teacher.named_parameters() if value.stop_gradient}
    assert len(teacher) > 20
    assert moved(task, groups, tmp_path, 3) == [{CRITIC}, {CRITIC}, {STUDENT}]
    heads = [name for name in groups[1].parameters if name.startswith("critic.gan.")]
    assert len(heads) == 6
    for name, value in task.networks.teacher.named_parameters():
        if name in teacher:
            np.testing.assert_array_equal(value.numpy(), teacher[name], err_msg=name)
    step = task.step(task.batch(np.arange(3), np.random.default_rng(0)), 2)
    assert {"dmd", "dmd_gradient", "critic_gap", "gan"} <= step.metrics.keys() and step.updates == {STUDENT}


def test_a_critic_of_its_own_begins_as_the_teacher(make):
    task, _ = make(**DMD2, train="full", dmd_critic_full=True)
    scene = scene_of(task)
    told = [task.networks.predict(role, scene.x, scene.sigma, scene.student).numpy() for role in (TEACHER, CRITIC)]
    np.testing.assert_array_equal(*told)


def test_shares_of_a_batch_add_up_to_the_whole(make):
    """Chance belongs to examples: whoever has which part of the batch, gradients and loss are those of the whole."""
    found = []
    for parts in ([(0, 3)], [(0, 1), (1, 2)]):
        task, _ = make(**{**ALL, "terms": ("consistency", "dmd", "reflow"), "dmd_on": "clean", "dmd_simulation": True})
        disturb(task.networks.parameters[STUDENT])
        sums = dict.fromkeys(task.networks.parameters[STUDENT], 0.0)
        total = 0.0
        for first, count in parts:
            rows = np.arange(3)[first : first + count]
            step = task.step(task.batch(rows, task.chance(7, first, count)), 1)
            step.loss.backward()
            total += count / 3 * float(step.loss.item())
            for name, value in task.networks.parameters[STUDENT].items():
                sums[name] = sums[name] + count / 3 * value.grad.numpy()
                value.clear_gradient(False)
        found.append((total, sums))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-5)
    for name, value in found[0][1].items():
        np.testing.assert_allclose(found[1][1][name], value, rtol=2e-3, atol=1e-6, err_msg=name)


def test_a_training_out_of_limits_ends_early_and_exports_the_last_sound_weights(make, tmp_path):
    words = {**DMD2, "steps": 30, "sample_every": 3, "checkpoint_every": 30, "stop_after": 2, "best_by": "sound"}
    task, groups = make(**words, validation_prompts=2, teacher_steps=2)
    looks = iter([1.0, 1.0, 1.5, 1.5, 1.0, 1.0])
    figures = task.validation.figures
    task.validation.figures = lambda: {**figures(), "contrast": 1, "diversity": 1, "saturation": next(looks)}
    trainer = Trainer(task, groups, tmp_path)
    found = trainer.run()
    assert trainer.step_index == 12 and found["best_step"] == 6
    assert found["training"]["ended"] == "2 validations in a row were out of limits (stop_after=2)"
    task, groups = make(**words, validation_prompts=2, teacher_steps=2)
    again = Trainer(task, groups, tmp_path)
    assert again.run()["training"]["steps"] == 12  # it is over, and stays so


def test_where_no_validation_was_sound_the_last_weights_are_exported(make, tmp_path):
    words = {**DMD2, "steps": 12, "sample_every": 3, "checkpoint_every": 12, "best_by": "sound"}
    task, groups = make(**words, validation_prompts=2, teacher_steps=2)
    figures = task.validation.figures
    task.validation.figures = lambda: {**figures(), "contrast": 9.0}
    trainer = Trainer(task, groups, tmp_path)
    found = trainer.run()
    assert "best_step" not in found and not trainer.best.path.is_file()
    (last,) = [line for line in (tmp_path / "log.jsonl").read_text().splitlines() if '"step": 12, "rmse"' in line]
    assert json.loads(last)["sound"] is None


def test_the_reference_arithmetic_is_trained_with_when_asked_for(make, tmp_path):
    task, groups = make(terms=ALL["terms"], compat="reference")
    assert type(task.process).__name__ == "LinearRenoising"
    assert [type(term).__name__.startswith("Reference") for term in task.terms] == [False, True, True, True]
    assert moved(task, groups, tmp_path, 2) == [{HEADS}, {STUDENT}]


def test_without_opponents_every_turn_is_the_students(make, tmp_path):
    task, groups = make(terms=("consistency", "reflow"))
    assert moved(task, groups, tmp_path, 2) == [{STUDENT}, {STUDENT}]


def test_the_opponents_step_leaves_the_student_without_gradient(make):
    task, _ = make(**ALL)
    examples = task.batch(np.arange(3), np.random.default_rng(0))
    step = task.step(examples, 0)
    step.loss.backward()
    assert step.updates == {HEADS, CRITIC}
    assert {"d_loss", "d_accuracy", "critic_loss"} <= step.metrics.keys()
    assert all(value.grad is None for value in task.networks.parameters[STUDENT].values())
    assert any(value.grad is not None for value in task.networks.parameters[CRITIC].values())


def test_the_students_loss_is_the_weighted_sum(make):
    weights = {"consistency_weight": 2.0, "adversarial_weight": 0.5, "dmd_weight": 0.25, "reflow_weight": 4.0}
    task, _ = make(**ALL, **weights)
    step = task.step(task.batch(np.arange(3), np.random.default_rng(0)), 1)
    expected = sum(weights[f"{name}_weight"] * step.metrics[name] for name in task.config.terms)
    assert float(step.loss.item()) == pytest.approx(expected, rel=1e-5)
    assert step.updates == {STUDENT}


def test_guidance_is_drawn_for_each_example_and_told_to_both(make):
    task, _ = make(guidance_min=1.0, guidance_max=7.0)
    found = [scene_of(task, index) for index in range(40)]
    for one in found:
        np.testing.assert_array_equal(one.teacher.guidance.numpy(), one.student.guidance.numpy())
        assert one.empty is None and one.scale is None
    drawn = np.concatenate([one.teacher.guidance.numpy() for one in found])
    assert len(set(drawn)) == 120 and drawn.min() >= 1 and drawn.max() <= 7
    assert drawn.mean() == pytest.approx(4, abs=0.5) and drawn.min() < 1.5 and drawn.max() > 6.5


def test_drawn_latents_keep_the_guidance_that_they_were_drawn_with(make):
    task, _ = make(stored=True, guidance_min=1.0, guidance_max=7.0)
    np.testing.assert_array_equal(scene_of(task).teacher.guidance.numpy(), task.store.guidance[:3])
    np.testing.assert_array_equal(scene_of(task).student.guidance.numpy(), task.store.guidance[:3])


def test_a_student_that_is_not_told_hears_the_middle(make):
    task, _ = make(guidance_min=1.0, guidance_max=7.0, student_guidance=False)
    one = scene_of(task)
    assert one.student.guidance.numpy().tolist() == [4.0] * 3
    assert len(set(one.teacher.guidance.numpy())) == 3


def test_true_guidance_scales_two_evaluations_and_still_tells_the_student(make):
    task, _ = make(guidance_min=2.0, guidance_max=7.0, true_guidance=True, teacher_guidance=1.5)
    one = scene_of(task)
    assert one.teacher.guidance.numpy().tolist() == one.empty.guidance.numpy().tolist() == [1.5] * 3
    np.testing.assert_array_equal(one.student.guidance.numpy(), one.scale.numpy())
    assert (one.scale.numpy() >= 2).all()
    assert (one.empty.text.numpy() == -1).all() and (one.empty.pooled.numpy() == -2).all()
    np.testing.assert_array_equal(one.teacher.text.numpy(), one.student.text.numpy())


def test_captions_are_dropped_for_teacher_and_student_alike(make):
    task, _ = make(caption_drop=0.4)
    found = [scene_of(task, index) for index in range(100)]
    gone = []
    for one in found:
        assert one.teacher.text is one.student.text and one.teacher.pooled is one.student.pooled
        dropped = (one.teacher.text.numpy() == -1).all(axis=(1, 2))
        np.testing.assert_array_equal((one.teacher.pooled.numpy() == -2).all(axis=1), dropped)
        gone.extend(dropped)
    assert np.mean(gone) == pytest.approx(0.4, abs=0.12)


def test_edges_are_drawn_more_often_late(make):
    task, _ = make(edge_share=1.0, edge_from=0.5)
    early = np.concatenate([scene_of(task, 4).n for _ in range(1)] + [scene_of(task, i).n for i in range(5)])
    late = np.concatenate([scene_of(task, index).n for index in range(5, 10)])
    assert set(late) <= {0, 3} and not set(early) <= {0, 3}


def test_a_student_of_one_phase_is_moved_to_the_levels_it_is_drawn_at(make):
    task, _ = make(edge_share=1.0, edge_from=0.0, phases=1, student_steps=3, sampler="lcm")
    assert set(np.concatenate([scene_of(task, index).n for index in range(10)])) == {0, 2, 4}


@pytest.mark.parametrize("changes", [{}, {"train": "full"}, {"train": "full", "recompute": True}], ids=str)
def test_the_averaged_student_follows_the_student_alone(make, changes):
    task, groups = make(target_ema=0.75, terms=("consistency", "adversarial"), **changes)
    target, student = task.networks.parameters[TARGET], task.networks.parameters[STUDENT]
    assert [group.name for group in groups] == [STUDENT, HEADS]
    assert task.buffers() is target and all(value.stop_gradient for value in target.values())
    for name, value in target.items():  # it begins where the student does
        np.testing.assert_array_equal(value.numpy(), student[name.replace(TARGET, STUDENT, 1)].numpy())
    before = {name: value.numpy() for name, value in target.items()}
    with paddle.no_grad():
        for value in student.values():
            value.set_value(value + 1.0)
    task.updated(0, frozenset({HEADS}))
    for name, value in target.items():
        np.testing.assert_array_equal(value.numpy(), before[name])
    task.updated(1, frozenset({STUDENT, HEADS}))
    for name, value in target.items():
        np.testing.assert_allclose(value.numpy(), before[name] + 0.25, atol=1e-6)
    # and it is what targets come from, without a gradient of its own
    scene = scene_of(task)
    roles = [task.networks.predict(role, scene.x, scene.sigma, scene.student) for role in (TEACHER, STUDENT, TARGET)]
    assert all(np.abs(a.numpy() - b.numpy()).max() > 1e-4 for a, b in itertools.combinations(roles, 2))
    assert roles[2].stop_gradient or changes.get("recompute")


def test_kd_reads_the_stored_trajectories(make):
    task, _ = make(terms=("kd",), trajectories=True)
    step = task.step(task.batch(np.arange(3), np.random.default_rng(0)), 0)
    step.loss.backward()
    assert step.metrics["kd"] > 0 and step.updates == {STUDENT}


def test_pictures_of_a_prompt_are_compared_with_each_other(make, tmp_path):
    """Batches keep them together, and the distance has a gradient of its own."""
    terms = {"terms": ("consistency", "relational"), "seeds_per_prompt": 2, "batch": 4}
    task, groups = make(**terms)
    disturb(groups[0].parameters)
    rows = Trainer(task, groups, tmp_path).sampler.rows(0, 12).reshape(6, 2)
    assert (rows[:, 1] == rows[:, 0] + 1).all() and not (rows[:, 0] % 2).any()
    batch = task.batch(np.arange(4), np.random.default_rng(0))
    scene = task.scene(*batch, 0)
    value, found = task.terms[1].loss(scene)
    assert 0 < found["apart"] != 1
    value.backward()
    assert any(np.abs(p.grad.numpy()).max() > 0 for p in groups[0].parameters.values() if p.grad is not None)
    asked = len(scene.goals)
    task.terms[0].loss(scene)
    assert len(scene.goals) == asked == 1  # both terms have one goal


def test_validations_look_at_as_many_prompts_however_many_seeds_each_has(make):
    task, _ = make(seeds_per_prompt=3, examples=6, validation_prompts=8)
    assert sorted(set(task.validation.captions)) == ["picture 0", "picture 3"]


def test_the_same_step_twice_is_the_same(make):
    task, _ = make(**ALL)
    losses = []
    for _ in range(2):
        losses.append(float(task.step(task.batch(np.arange(3), np.random.default_rng(7)), 1).loss.item()))
    assert losses[0] == losses[1]


def test_a_blind_discriminator_is_told_of_once(make):
    task, _ = make(terms=("consistency", "adversarial"))
    task._blind.steps = BLIND_STEPS - 1
    task.opponents[0].opponent_loss = lambda scene: (paddle.zeros([1]).sum(), {"d_accuracy": 0.5})
    task.step(task.batch(np.arange(3), np.random.default_rng(0)), 0)
    assert task.notices() == ["the discriminator was right in 50% for 500 turns: it sees no difference"]
    assert task.notices() == []


def test_heads_begin_alike_whether_examples_were_prepared_or_found(make):
    """The other workers, and every later run, find them."""
    starts = []
    for drawn in (0, 5):
        paddle.seed(9)
        paddle.randn([drawn + 1])
        _, groups = make(terms=("consistency", "adversarial"))
        starts.append({name: value.numpy() for name, value in groups[1].parameters.items()})
    for name, value in starts[0].items():
        np.testing.assert_array_equal(starts[1][name], value)
    _, groups = make(terms=("consistency", "adversarial"), seed=1)
    assert any((groups[1].parameters[name].numpy() != value).any() for name, value in starts[0].items())


@pytest.mark.parametrize("alpha", [None, 8.0])
def test_a_student_starts_as_the_adapter_it_is_given_and_its_average_too(make, tmp_path, alpha):
    """Whatever α they were and are trained with, the change of the weights is the same."""
    first, _ = make(alpha=4.0)
    disturb(first.networks.parameters[STUDENT])
    write_lora(tmp_path / "adapter.safetensors", student_layers(first), {})
    second, _ = make(start=str(tmp_path), alpha=alpha, target_ema=0.9)
    deltas = [task.networks.bank.deltas(STUDENT) for task in (first, second)]
    for path, delta in deltas[0].items():
        # the file is in 16 bits
        np.testing.assert_allclose(deltas[1][path], delta, rtol=5e-3, atol=2e-4, err_msg=path)
    student = second.networks.parameters[STUDENT]
    for name, value in second.networks.parameters[TARGET].items():
        np.testing.assert_array_equal(value.numpy(), student[name.replace(TARGET, STUDENT, 1)].numpy())
    assert any(value.numpy().any() for name, value in student.items() if name.endswith("lora_B"))
