"""Terms and roles put together: whose turn it is, who learns from it, and who is told which guidance."""

import itertools

import numpy as np
import paddle
import pytest
from safetensors.numpy import load_file
from tiny_roles import disturb

import fastdiffusers.distillation.task as task_module
import fastdiffusers.distillation.validation as validation_module
from fastdiffusers.distillation.data import Examples
from fastdiffusers.distillation.export import student_layers
from fastdiffusers.distillation.health import BLIND_STEPS
from fastdiffusers.distillation.keys import DistillConfig
from fastdiffusers.distillation.networks import CRITIC, STUDENT, TARGET, TEACHER
from fastdiffusers.distillation.task import DistillTask
from fastdiffusers.distillation.terms.adversarial import HEADS
from fastdiffusers.testing import tiny_flux
from fastdiffusers.training.log import TrainingLog
from fastdiffusers.training.trainer import Trainer
from fastdiffusers.weights.lora import write_lora

TOKENS, CELLS = 16, 64  # of text; of a 32 × 32 picture


class FakeStore:
    """Random examples of one size."""

    def __init__(self, guidance: bool = False) -> None:
        rng = np.random.default_rng(0)
        self.latents = rng.standard_normal((6, CELLS, 16)).astype(np.float32)
        self.text = rng.standard_normal((6, TOKENS, 16)).astype(np.float32)
        self.pooled = rng.standard_normal((6, 16)).astype(np.float32)
        self.guidance = rng.uniform(1, 4, 6).astype(np.float32) if guidance else None
        self.states = rng.standard_normal((6, 7, CELLS, 16)).astype(np.float32)
        self.meta = {"source": "nothing"}

    def __len__(self) -> int:
        return 6

    def examples(self, rows: np.ndarray, rng: np.random.Generator) -> Examples:
        told = None if self.guidance is None else self.guidance[rows]
        captions = [f"picture {row}" for row in rows]
        return Examples(
            self.latents[rows], self.text[rows], self.pooled[rows], (32, 32), captions, told, self.states[rows], None
        )

    def empty(self) -> tuple[np.ndarray, np.ndarray]:
        return np.full((1, TOKENS, 16), -1, np.float32), np.full((1, 16), -2, np.float32)


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("model") / "tiny"
    tiny_flux(folder, layers=1, single_layers=2)
    return str(folder)


@pytest.fixture
def make(model, monkeypatch):
    """A built task: ``make(guidance of the store's, **recipe)``."""

    def build(stored: bool = False, **changes) -> tuple[DistillTask, list]:
        monkeypatch.setattr(task_module, "prepare", lambda pipe, options: FakeStore(stored))
        values = {"model": model, "rank": 2, "phases": 2, "solver_steps": 6, "batch": 3, "compile": False, "steps": 10}
        task = DistillTask(DistillConfig(**{**values, "warmup_steps": 0, "lr": 1e-3, "ema": 0.0, **changes}))
        return task, task.build()

    return build


DMD2 = {
    "terms": ("dmd",),
    "dmd_weight": 1.0,
    "dmd_on": "clean",
    "dmd_critic": True,
    "dmd_simulation": True,
    "dmd_gan_weight": 0.01,
    "sampler": "lcm",
    "opponent_turns": 2,
    "stop_after": 9,
}


def scene_of(task: DistillTask, index: int = 0, count: int = 3):
    return task.scene(*task.batch(np.arange(count), np.random.default_rng(index)), index)


ALL = {"terms": ("consistency", "adversarial", "dmd", "reflow"), "dmd_critic": True}


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


def test_the_reference_arithmetic_is_trained_with_when_asked_for(make, tmp_path):
    task, groups = make(terms=ALL["terms"], compat="reference")
    assert type(task.process).__name__ == "LinearRenoising"
    assert [type(term).__name__.startswith("Reference") for term in task.terms] == [False, True, True, True]
    assert moved(task, groups, tmp_path, 2) == [{HEADS}, {STUDENT}]


@pytest.mark.parametrize(
    ("changes", "pattern"),
    [({}, "OSOSOSOS"), ({"opponent_turns": 3}, "OOOSOOOS"), ({"opponent_warmup": 3, "opponent_turns": 2}, "OOOOOSOO")],
)
def test_the_order_of_turns(make, changes, pattern):
    task, _ = make(terms=("consistency", "adversarial"), **changes)
    assert "".join("SO"[task._opponents_turn(index)] for index in range(8)) == pattern


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
    [{}, {"target_ema": 0.9, "ema": 0.9, "compat": "none"}, {**DMD2, "ema": 0.9}],
    ids=["plain", "averaged", "dmd2"],
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
