"""The scorer's training, tiny, on the packaged sample: its split, its batches, its views, and what it writes."""

import json
from collections import Counter

import numpy as np
import paddle
import pytest

from fastdiffusers import scorer as scorers
from fastdiffusers.scorer.words import UNKNOWN
from fastdiffusers.training.launch import build, train
from fastdiffusers.training.recipe import config_to_dict, load_recipe
from fastdiffusers.zoo.emoji import PALETTE, SAMPLE, Caption, EmojiDataset
from fastdiffusers.zoo.emoji.captions import STYLES
from fastdiffusers.zoo.pretrain import TASKS
from fastdiffusers.zoo.pretrain.places import recipe_file
from fastdiffusers.zoo.pretrain.scorer import ScorerTaskConfig, held_back_style
from fastdiffusers.zoo.pretrain.scorer_views import views

TINY = ["size=32", "channels=[8, 16, 16]", "hidden_size=24", "embedding_size=16", "features=6", "batch=12"]


def config_of(*words: str):
    return load_recipe(ScorerTaskConfig, None, [f"data={SAMPLE}", "seed=3", *TINY, *words])


def built(*words: str):
    return build(TASKS["scorer"], config_to_dict(config_of(*words)))


@pytest.fixture(scope="module")
def task():
    return built()[0]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scorer")
    words = ["steps=30", "lr=3e-3", "warmup_steps=5", "ema=0.5", "log_every=10"]
    return folder, train(TASKS["scorer"], config_of(*words), folder)


def test_the_shipped_recipe_fits_the_task():
    config = load_recipe(ScorerTaskConfig, recipe_file("scorer"))
    assert config.workers == 1 and config.seed != 0


def test_one_picture_in_eight_is_held_back_and_never_two_of_a_concept():
    codes = [f"{number:X}" for number in range(0x1F300, 0x1F300 + 4000)]
    chosen = Counter(map(held_back_style, codes))
    assert sum(chosen[style] for style in STYLES) / (3 * len(codes)) == pytest.approx(1 / 8, abs=0.01)
    assert all(chosen[style] == pytest.approx(500, abs=80) for style in STYLES)
    assert held_back_style("1f34e") == held_back_style("1F34E")


def test_the_split_is_its_own(task):
    everything = EmojiDataset(SAMPLE, size=32, split="all")
    assert len(task.data) == len(everything) and any(entry["split"] == "held-out" for entry in task.data.entries)
    for rows, back in ((task.rows, False), (task.held_back, True)):
        assert all(
            (task.data.entries[i]["style"] == held_back_style(task.data.entries[i]["hexcode"])) == back for i in rows
        )
    assert len(task.rows) + len(task.held_back) == len(everything) and len(task.held_back) > 0
    assert task.examples == len(task.rows)


def test_no_batch_shows_a_picture_that_is_held_back(task, monkeypatch):
    shown = []
    monkeypatch.setattr(task, "_pictures", lambda rows, *rest: shown.extend(rows) or np.zeros((len(rows), 3, 32, 32)))
    for seed in range(6):
        task.batch(np.arange(task.examples), np.random.default_rng(seed))
    assert set(shown) <= set(map(int, task.rows)) and len(set(shown)) > task.examples // 2


def test_the_last_of_a_batch_are_twins_of_the_first(task, monkeypatch):
    _, pictures, fits = task.batch(np.arange(12), np.random.default_rng(0))
    assert pictures.shape == [12, 3, 32, 32] and fits.shape == (12, 12) and (np.diag(fits) == 1).all()
    shown = []
    monkeypatch.setattr(task, "_pictures", lambda rows, *rest: shown.append(rows) or np.zeros((12, 3, 32, 32)))
    for seed in range(4):
        task.batch(np.arange(12), np.random.default_rng(seed))
    for rows in shown:
        assert rows[:8] == task.rows[:8].tolist()
        codes = [task.data.entries[row]["hexcode"] for row in rows]
        assert codes[8:] == codes[:4]  # three eighths of 12
    assert any(rows[8:] != rows[:4] for rows in shown)  # another style now and then


def test_the_same_chance_gives_the_same_batch(task):
    first, again = (task.batch(np.arange(12), np.random.default_rng(5)) for _ in range(2))
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


def test_all_words_of_all_captions_are_known(task):
    rng = np.random.default_rng(9)
    for sampler in (task.sampler, task.telling):
        texts = [sampler.sample(rng, entry).text for entry in task.data.entries for _ in range(20)]
        assert not {word for text in texts for word in task.words.unknown(text)}


def test_the_pairs_that_the_generator_never_sees_are_drawn(task):
    from fastdiffusers.zoo.emoji.captions import held_out_pair

    rng = np.random.default_rng(0)
    drawn = {
        (entry["hexcode"], task.sampler.sample(rng, entry).background) for entry in task.data.entries for _ in range(80)
    }
    assert any(held_out_pair(code, ground) for code, ground in drawn if ground)


def test_colours_and_styles_are_never_made_unknown():
    task = built("word_dropout=1", "strange_words=0")[0]
    text = "red apple on a blue background, noto style"
    kept = {task.words.numbers(word)[0] for word in ("red", "blue", "noto")}
    numbers = task._disturbed(task.words.numbers(text), np.random.default_rng(0))
    assert set(numbers) == kept | {UNKNOWN} and len(numbers) == 8
    assert task._disturbed(task.words.numbers("red apple"), np.random.default_rng(0)) == task.words.numbers("red apple")
    task = built("word_dropout=0", "strange_words=1")[0]
    longer = task._disturbed(task.words.numbers(text), np.random.default_rng(0))
    assert len(longer) == 9 and longer.count(UNKNOWN) == 1


def test_views_keep_the_colour_of_the_ground_and_change_the_picture():
    data = EmojiDataset(SAMPLE, size=64, split="all")
    grounds = [list(PALETTE.values())[i % len(PALETTE)] for i in range(len(data))]
    plain = np.stack([data.image(i, ground) for i, ground in enumerate(grounds)])
    seen = np.concatenate([views(plain, grounds, np.random.default_rng(seed)) for seed in range(10)])
    assert seen.shape == (240, 3, 64, 64) and seen.dtype == np.float32 and np.isfinite(seen).all()
    edge = np.concatenate([seen[:, :, :2].reshape(240, 3, -1), seen[:, :, :, :2].reshape(240, 3, -1)], axis=2)
    middle = (np.median(edge, axis=2) + 1) * 127.5
    palette = np.array(list(PALETTE.values()), dtype=float)
    nearest = np.linalg.norm(middle[:, None] - palette, axis=2).argmin(axis=1)
    right = np.tile(np.arange(len(data)) % len(PALETTE), 10)
    assert np.mean(nearest == right) > 0.97
    assert np.abs(seen[:24] - seen[24:48]).mean(axis=(1, 2, 3)).min() > 0.01
    np.testing.assert_array_equal(seen[:24], views(plain, grounds, np.random.default_rng(0)))


def test_a_caption_is_true_of_both_when_it_says_nothing_of_the_ground(task, monkeypatch):
    told = iter([Caption("red apple", None, False, False), Caption("red apple on blue", "blue", False, True)] * 6)
    monkeypatch.setattr(task.sampler, "sample", lambda rng, entry: next(told))
    monkeypatch.setattr(task.telling, "sample", lambda rng, entry: next(told))
    row = task.rows[0]
    monkeypatch.setattr(task, "rows", np.full(2, row))
    monkeypatch.setitem(task.of_concept, task.data.entries[row]["hexcode"], [int(row)])
    fits = task.batch(np.arange(2), np.random.default_rng(0))[2]
    assert fits.tolist() == [[1, 1], [0, 1]]


def test_it_learns_and_what_it_writes_is_opened(trained):
    folder, figures = trained
    assert figures["ground"] >= 0 and 0.3 < figures["features_variance"] <= 1
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in lines if "loss" in line]
    assert losses[-1] < 0.75 * losses[0]
    scorer = scorers.load(folder / "scorer")
    data = EmojiDataset(SAMPLE, size=64, split="all")
    pictures = np.stack([data.image(i) for i in range(len(data))])
    assert scorer.features(pictures).shape == (24, 6)
    assert scorer.unknown_words("a red apple on a blue background") == []
    assert "Noto Emoji" in (folder / "scorer" / "README.md").read_text()


def test_the_axes_give_the_real_renderings_unit_variance(task):
    with paddle.no_grad():
        share = task.fit_features()
    rng = np.random.default_rng(2)
    parts = []
    for _ in range(8):
        captions = [task.sampler.sample(rng, entry) for entry in task.data.entries]
        parts.append(task._see(task._pictures(range(len(task.data)), captions, rng))[1])
    hidden = np.concatenate(parts)
    reduced = task.network.reduce(paddle.to_tensor(hidden)).numpy().astype(np.float64)
    cov = np.cov(reduced.T)
    assert np.trace(cov) == pytest.approx(1, rel=1e-3) and np.allclose(reduced.mean(axis=0), 0, atol=1e-3)
    assert np.abs(cov - np.diag(np.diag(cov))).max() < 1e-4
    assert (np.diff(np.diag(cov)) < 1e-6).all() and 0.5 < share <= 1
