"""Recipes: files, words, limits, and one line for each mistake."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from fastdiffusers.errors import InputError
from fastdiffusers.training.recipe import TrainerConfig, build_config, config_to_dict, key, load_recipe
from fastdiffusers.training.sampler import EpochSampler, share, step_rng
from fastdiffusers.training.trainer import check_same_recipe


@dataclass(frozen=True)
class Config(TrainerConfig):
    widths: tuple[int, ...] = key((8, 16), "widths", min=1)
    note: str = key("", "a word")
    limit: float | None = key(None, "may be absent", max=2.0)


def test_words_win_over_the_file_and_the_file_over_defaults(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text("steps: 7\nlr: 1e-4\nwidths: [4, 4, 4]\nmuon: false\n")
    config = load_recipe(Config, path, ["steps=9", "note=blue", "limit=1"])
    assert (config.steps, config.lr, config.widths, config.muon) == (9, 1e-4, (4, 4, 4), False)
    assert (config.note, config.limit, config.batch) == ("blue", 1.0, Config().batch)
    assert build_config(Config, config_to_dict(config)) == config


def test_single_words_lists_and_nothing():
    assert load_recipe(Config, None, ["widths=32"]).widths == (32,)
    assert load_recipe(Config, None, ["widths=32,16"]).widths == (32, 16)
    assert load_recipe(Config, None, ["widths=[1, 2]", "limit=null", "note="]).note == ""


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("stepps=3", r"^unknown recipe key 'stepps'; valid: .*steps"),
        ("steps", r"^'steps' is not of the form key=value"),
        ("steps=0", r"^recipe key 'steps' is 0; valid is at least 1$"),
        ("steps=1.5", r"^recipe key 'steps' is 1.5; valid is a whole number$"),
        ("steps=true", r"^recipe key 'steps' is True; valid is a whole number$"),
        ("muon=1", r"^recipe key 'muon' is 1; valid is true or false$"),
        ("lr=fast", r"^recipe key 'lr' is 'fast'; valid is a finite number$"),
        ("lr=nan", r"^recipe key 'lr' is nan; valid is a finite number$"),
        ("lr=.inf", r"^recipe key 'lr' is inf; valid is a finite number$"),
        ("lr=1e999", r"^recipe key 'lr' is inf; valid is a finite number$"),
        (f"lr=1{'0' * 400}", r"^recipe key 'lr' is 10+; valid is a finite number$"),
        ("lr=-1", r"^recipe key 'lr' is -1.0; valid is at least 0.0$"),
        ("limit=3", r"^recipe key 'limit' is 3.0; valid is at most 2.0$"),
        ("schedule=step", r"'step'; valid: constant, cosine, linear$"),
        ("widths=[8, 0]", r"^recipe key 'widths' is 0; valid is at least 1$"),
        ("widths=8,,2", r"^recipe key 'widths' is ''; valid is a whole number$"),
        ("note=[", r"^recipe key 'note': '\[' is no valid YAML value$"),
    ],
)
def test_each_mistake_is_one_line(word, message):
    with pytest.raises(InputError, match=message) as caught:
        load_recipe(Config, None, [word])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("text", "message"), [("- a\n", "must be a mapping"), ("a: [\n", "is no valid YAML: ")])
def test_files_that_are_no_recipe(tmp_path, text, message):
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        load_recipe(Config, path)
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="cannot read recipe"):
        load_recipe(Config, tmp_path / "absent.yaml")


def test_every_epoch_sees_every_example_once_in_its_own_order():
    sampler = EpochSampler(10, seed=5)
    rows = sampler.rows(0, 30).reshape(3, 10)
    assert all(sorted(epoch) == list(range(10)) for epoch in rows.tolist())
    assert rows[0].tolist() != rows[1].tolist()


def test_the_order_depends_on_the_position_alone():
    whole = EpochSampler(7, seed=1).rows(0, 40)
    late = EpochSampler(7, seed=1)
    assert late.rows(25, 9).tolist() == whole[25:34].tolist()
    assert late.rows(3, 5).tolist() == whole[3:8].tolist()
    assert EpochSampler(7, seed=2).rows(0, 40).tolist() != whole.tolist()


def test_groups_stay_together_and_come_in_an_order_of_their_own():
    rows = EpochSampler(12, seed=5, group=3).rows(0, 24).reshape(8, 3)
    assert (rows == rows[:, :1] + [0, 1, 2]).all() and not (rows[:, 0] % 3).any()
    assert sorted(rows[:4, 0]) == sorted(rows[4:, 0]) == [0, 3, 6, 9]
    assert rows[:4, 0].tolist() not in ([0, 3, 6, 9], rows[4:, 0].tolist())
    assert EpochSampler(12, seed=5, group=3).rows(7, 9).tolist() == rows.reshape(-1)[7:16].tolist()


def test_a_checkpoint_from_before_a_key_had_its_default():
    begun = {name: value for name, value in config_to_dict(Config()).items() if name != "batch"}
    check_same_recipe(begun, Config(), Path("at"))
    with pytest.raises(InputError, match=r"^the checkpoint 'at' was made with batch=32, now it is 8; use the same"):
        check_same_recipe(begun, Config(batch=8), Path("at"))


def test_processes_take_whole_groups():
    parts = [share(40, 4, 3, rank).tolist() for rank in range(3)]
    assert [len(part) for part in parts] == [16, 12, 12] and [*parts[0], *parts[1], *parts[2]] == [*range(40)]
    assert [share(5, 1, 2, rank).tolist() for rank in range(2)] == [[0, 1, 2], [3, 4]]


def test_groups_that_examples_do_not_fill_are_refused():
    with pytest.raises(InputError, match=r"^10 examples are no multiple of 4, which stay together; valid are 8, 12 …$"):
        EpochSampler(10, seed=0, group=4)


def test_nothing_to_train_on_is_said_in_words():
    with pytest.raises(InputError, match=r"^there are 0 examples to train on; at least 1 is needed$"):
        EpochSampler(0, seed=0)


def test_every_step_and_worker_has_a_generator_of_its_own():
    draws = {step_rng(seed, step, rank).random() for seed in (0, 1) for step in range(3) for rank in range(3)}
    assert len(draws) == 18
    assert step_rng(1, 2, 0).random() == step_rng(1, 2, 0).random()
