"""Students against their teacher: what is drawn, compared and kept. Pictures come from a script, not from a model."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from scripted_scorer import ScriptedScorer, quarters

import fastdiffusers.scorer
from fastdiffusers.distillation.adapter import CARD, WEIGHTS, AdapterCard, write_card
from fastdiffusers.errors import InputError, PlanError
from fastdiffusers.evaluation import judging
from fastdiffusers.evaluation.against import LEAST, PROMPTS, SEEDS, Evaluation, Question, steps_of
from fastdiffusers.evaluation.against_table import COLUMNS, markdown
from fastdiffusers.evaluation.picture_set import PictureSet, save_chunk
from fastdiffusers.metrics import frechet_distance, kernel_distance, pairwise_distance, psnr, ssim
from fastdiffusers.models.info import ModelInfo, describe

SIDE = 16
CAPTIONS = tuple(f"caption {i % 20}" for i in range(LEAST))
GOOD = 50


class ScriptedCrew:
    """Draws noise by the seed, the duller the fewer steps there are, and judges in this process."""

    def __init__(self) -> None:
        self.drawn: list[PictureSet] = []

    def run(self, tasks, done=None) -> None:
        for task in tasks:
            arguments = dict(task.arguments)
            if task.function.endswith(":draw_chunk"):
                from pathlib import Path

                folder = Path(arguments["folder"])
                item = PictureSet.read(folder)
                if arguments["chunk"] == 0:
                    self.drawn.append(item)
                save_chunk(folder, "pictures", arguments["chunk"], picture_of(item)[item.rows(arguments["chunk"])])
            else:
                judging.judge_chunk(**arguments)
            if done is not None:
                done(task, None)


def picture_of(item: PictureSet) -> np.ndarray:
    """uint8 ``[N, H, W, 3]``: by seed and steps; an accelerator's are a little brighter."""
    contrast = 1 - 0.6 / item.steps
    found = [np.random.default_rng(seed).uniform(0, 200, (SIDE, SIDE, 3)) * contrast for seed in item.seeds]
    return (np.stack(found) + (10 if item.accel else 0)).astype(np.uint8)


@pytest.fixture
def scorer(monkeypatch):
    scripted = ScriptedScorer()
    monkeypatch.setattr(fastdiffusers.scorer, "load", lambda folder=None: scripted)
    judging._scorer.cache_clear()
    yield scripted
    judging._scorer.cache_clear()


@pytest.fixture(scope="module")
def info(tmp_path_factory) -> ModelInfo:
    from fastdiffusers.testing import tiny_flux

    folder = tmp_path_factory.mktemp("models") / "tiny"
    tiny_flux(folder)
    return describe(folder)


@pytest.fixture
def adapter(tmp_path, info):
    write_card(tmp_path / "adapter", AdapterCard("pcm", info.name, info.sha256, steps=2, guidance_max=5.0))
    (tmp_path / "adapter" / WEIGHTS).write_bytes(b"weights")
    return tmp_path / "adapter"


def question(info: ModelInfo, root, *accels: str, **more) -> Question:
    values = {"captions": CAPTIONS, "teacher": ((4, None), (1, 0.5)), **more}
    return Question(str(info.path), info, accels=accels, root=root, **values)


def expected_set(info: ModelInfo, steps: int, first: int, captions=CAPTIONS, accel: str = "") -> np.ndarray:
    seeds = tuple(range(first, first + len(captions)))
    return picture_of(PictureSet(str(info.path), info.sha256, tuple(captions), seeds, steps, accel=accel))


def features(pictures: np.ndarray) -> np.ndarray:
    return np.stack([quarters(picture) for picture in pictures]).astype(np.float32)


def test_every_figure_is_what_its_name_says(tmp_path, info, adapter, scorer):
    accel = f"pcm:adapter={adapter}"
    report = Evaluation(question(info, tmp_path / "kept", accel), ScriptedCrew(), show=False).report()
    rows = report["rows"]
    assert [(row["accel"], row["steps"], row["mu"]) for row in rows] == [
        ("none", 50, 0.0),
        ("none", 4, None),
        ("none", 1, 0.5),
        (accel, 2, None),
    ]
    teacher = expected_set(info, GOOD, 0)
    reference = features(expected_set(info, GOOD, 10_000_000))
    floor = frechet_distance(reference, features(teacher))
    assert report["floor"] == pytest.approx(floor) and rows[0]["fd_excess"] == 0
    assert (rows[0]["psnr"], rows[0]["ssim"]) == (None, None) and rows[0]["diversity"] == 1
    texts = scorer.embed_texts(list(CAPTIONS)).astype(np.float64)
    for row in rows[1:]:
        own = expected_set(info, row["steps"], 0, accel="" if row["accel"] == "none" else "x")
        assert row["fd"] == pytest.approx(frechet_distance(reference, features(own)))
        assert row["fd_excess"] == pytest.approx(row["fd"] - floor)
        assert row["fd_std"] > 0
        kernel = kernel_distance(features(own), reference)
        assert (row["kid"], row["kid_error"]) == pytest.approx((kernel.mean, kernel.error))
        pairs = list(zip(own, teacher, strict=True))  # of the same captions and noise
        assert row["psnr"] == pytest.approx(np.mean([psnr(a, b) for a, b in pairs]))
        assert row["ssim"] == pytest.approx(np.mean([ssim(a, b) for a, b in pairs]))
        cosines = (scorer.embed_images(own).astype(np.float64) * texts).sum(axis=1)
        assert row["clip"] == pytest.approx(cosines.mean(), abs=1e-6)
        kinds = [f"caption {i}" for i in range(PROMPTS) for _ in range(SEEDS)]
        many, few = (
            expected_set(info, steps, 30_000_000, kinds, name)
            for steps, name in ((GOOD, ""), (row["steps"], "" if row["accel"] == "none" else "x"))
        )
        spread = [
            np.mean([pairwise_distance(side[i : i + SEEDS]) for i in range(0, len(side), SEEDS)])
            for side in (few, many)
        ]
        assert row["diversity"] == pytest.approx(spread[0] / spread[1])
    assert report["n"] == LEAST and report["different_captions"] == 20 and report["reference"] == "teacher:50"
    assert report["model"] == {"name": info.name, "sha256": info.sha256}
    json.dumps(report, allow_nan=False)
    assert report["rows"][3]["fd"] > report["rows"][1]["fd"] > report["floor"]


def test_an_interrupted_evaluation_draws_the_rest_and_a_finished_one_nothing(tmp_path, info, adapter, scorer):
    asked = question(info, tmp_path / "kept", f"pcm:adapter={adapter}")
    crew = ScriptedCrew()
    report = Evaluation(asked, crew, show=False).report()
    assert len({item.name for item in crew.drawn}) == len(crew.drawn) == 1 + 2 * 4  # reference; each row, its variety
    again = ScriptedCrew()
    assert Evaluation(asked, again, show=False).report() == report
    assert again.drawn == []
    (lost,) = [item for item in crew.drawn if item.steps == 4 and len(item) == LEAST]
    (lost.folder(asked.root) / "pictures-00000.npy").unlink()
    assert Evaluation(asked, again, show=False).report() == report
    assert [item.name for item in again.drawn] == [lost.name]


@pytest.mark.parametrize("changed", [WEIGHTS, CARD])
def test_pictures_of_an_adapter_are_never_taken_for_those_of_its_successor(tmp_path, info, adapter, scorer, changed):
    asked = question(info, tmp_path / "kept", f"pcm:adapter={adapter}", teacher=())
    first, second = ScriptedCrew(), ScriptedCrew()
    Evaluation(asked, first, show=False).report()
    if changed == WEIGHTS:
        (adapter / WEIGHTS).write_bytes(b"trained anew")
    else:
        write_card(adapter, AdapterCard("pcm", info.name, info.sha256, steps=2, guidance_max=5.0, sampler="lcm"))
    Evaluation(asked, second, show=False).report()
    assert [len(item) for item in second.drawn] == [LEAST, PROMPTS * SEEDS]
    assert all(item.accel.startswith("pcm:adapter=") for item in second.drawn)
    # what was drawn then can be drawn again: the copy is kept under its hash, whole
    copies = sorted((asked.root / "adapters").iterdir())
    assert len(copies) == 2 and all({file.name for file in copy.iterdir()} == {WEIGHTS, CARD} for copy in copies)


def test_a_lora_file_is_copied_without_the_strangers_card_beside_it(tmp_path, info, adapter, scorer):
    file = adapter / "other.safetensors"
    file.write_bytes(b"other weights")
    crew = ScriptedCrew()
    Evaluation(question(info, tmp_path / "kept", f"pcm:steps=3:adapter={file}", teacher=()), crew, show=False).report()
    words = crew.drawn[-1].accel
    assert (
        crew.drawn[-1].steps == 3 and words.startswith("pcm:steps=3:adapter=") and words.endswith("/other.safetensors")
    )
    (copy,) = (tmp_path / "kept" / "adapters").iterdir()
    assert [item.name for item in copy.iterdir()] == ["other.safetensors"]


def test_guidance_decides_what_is_refused(tmp_path, info, adapter):
    accel = f"pcm:adapter={adapter}"
    assert steps_of(question(info, tmp_path, accel, guidance=5.0), accel) == 2
    with pytest.raises(PlanError, match=f"--accel {accel}: pcm .*guidance 3.5 to 5, not 6"):
        Evaluation(question(info, tmp_path, accel, guidance=6.0), ScriptedCrew(), show=False)
    # an adapter for other guidance than the model's usual one is measured with its own
    write_card(adapter, AdapterCard("pcm", info.name, info.sha256, steps=2, guidance_min=1.0, guidance_max=1.0))
    crew = ScriptedCrew()
    Evaluation(question(info, tmp_path / "kept", accel, guidance=1.0), crew, show=False).pictures(2)
    assert {item.guidance for item in crew.drawn} == {1.0} and "adapters" in crew.drawn[-1].accel


def test_few_pictures_are_enough_to_look_at_and_too_few_for_a_distance(tmp_path, info, adapter, scorer):
    accel = f"pcm:adapter={adapter}"
    crew = ScriptedCrew()
    evaluation = Evaluation(question(info, tmp_path, accel, captions=CAPTIONS[:20]), crew, show=False)
    with pytest.raises(InputError, match=f"20 pictures are too few for a Fréchet distance; at least {LEAST}"):
        evaluation.report()
    assert crew.drawn == []
    found = evaluation.pictures(3)
    assert list(found) == ["teacher@50 μ 0", accel] and all(len(pictures) == 3 for pictures in found.values())
    assert (found[accel] == expected_set(info, 2, 0, CAPTIONS[:3], "x")).all()  # the teacher's noise


def test_the_grid_shows_what_was_measured(tmp_path, info, adapter, scorer):
    evaluation = Evaluation(question(info, tmp_path, f"pcm:adapter={adapter}"), ScriptedCrew(), show=False)
    evaluation.report()
    found = evaluation.first_pictures(5)
    assert list(found) == [row.label for row in evaluation.rows]
    for row in evaluation.rows:
        assert (found[row.label] == expected_set(info, row.steps, 0, accel=row.accel)[:5]).all()


def test_the_table_has_a_line_for_each_row_and_a_cell_for_each_column(tmp_path, info, adapter, scorer):
    report = Evaluation(question(info, tmp_path, f"pcm:adapter={adapter}"), ScriptedCrew(), show=False).report()
    report["rows"][1]["latency"] = 0.25
    lines = [line for line in markdown({**report, "command": "fastdiff eval"}).splitlines() if line.startswith("|")]
    assert len(lines) == 2 + 4
    assert {line.count("|") for line in lines} == {len(COLUMNS) + 1}
    assert "| 0.250 |" in lines[3] and lines[2].count("–") == 3  # PSNR and SSIM of the teacher itself, and no time


def test_rows_are_timed_in_turn_with_their_steps_and_guidance(tmp_path, info, adapter, monkeypatch):
    from contextlib import contextmanager

    import fastdiffusers
    from fastdiffusers.evaluation.timing import RUNS, time_rows

    calls = []

    @contextmanager
    def accelerate(pipe, words, **setting):
        calls.append(("attach", words, setting))
        yield

    monkeypatch.setattr(fastdiffusers, "load", lambda name: lambda prompt, **given: calls.append(given))
    monkeypatch.setattr(fastdiffusers, "accelerate", accelerate)
    asked = dataclasses.replace(question(info, tmp_path / "kept", f"pcm:adapter={adapter}"), guidance=4.0)
    rows = Evaluation(asked, ScriptedCrew(), show=False).rows
    seconds = time_rows(asked, rows)
    assert len(seconds) == len(rows) and all(0 <= one < 1 for one in seconds)
    attached = [call for call in calls if isinstance(call, tuple)]
    assert len(attached) == RUNS and all(call[2] == {"steps": 2, "guidance": 4.0} for call in attached)
    drawn = [call for call in calls if isinstance(call, dict)]
    assert len(drawn) == 2 * RUNS * len(rows) and {call["guidance_scale"] for call in drawn} == {4.0}
    first = [call["num_inference_steps"] for call in drawn[1::2]][:: len(rows)]
    assert first == [50, 4, 1]  # every turn begins with another row


class Eye:
    """A network by formula, its own for each kind."""

    def __init__(self, kind: str) -> None:
        self.name, self.sha256 = f"my-{kind}", kind.encode().hex().ljust(64, "0")

    def features(self, pictures) -> np.ndarray:
        return np.stack([picture[0, :6, 0] / 255 for picture in pictures]).astype(np.float32)

    def embed_images(self, pictures) -> np.ndarray:
        return np.stack([picture[1, :3, 1] / 255 for picture in pictures]).astype(np.float32)

    def embed_texts(self, texts) -> np.ndarray:
        return np.array([[len(text), int(text.split()[-1]), 1] for text in texts], np.float32)


class EyeCrew(ScriptedCrew):
    """Counts what is seen, and sees in this process."""

    seen = 0

    def run(self, tasks, done=None) -> None:
        from fastdiffusers.evaluation.backbone import see_chunk

        for task in tasks:
            if task.function.endswith(":see_chunk"):
                see_chunk(**task.arguments)
                self.seen += 1
            else:
                super().run([task])
            if done is not None:
                done(task, None)


def test_figures_of_other_networks(tmp_path, info, adapter, scorer, monkeypatch):
    from fastdiffusers.evaluation import backbone

    monkeypatch.setattr(backbone, "_opened", lambda kind, place: Eye(kind))
    accel = f"pcm:adapter={adapter}"
    plain = question(info, tmp_path / "kept", accel)
    asked = dataclasses.replace(
        plain, clip=backbone.Backbone("clip", "c"), inception=backbone.Backbone("inception", "i")
    )
    before = Evaluation(plain, EyeCrew(), show=False).report()
    crew = EyeCrew()
    report = Evaluation(asked, crew, show=False).report()
    assert not crew.drawn and crew.seen == 2 * (4 + 1 + 4)  # two chunks: of four rows and the reference, of four rows
    assert Evaluation(asked, again := EyeCrew(), show=False).report() == report and again.seen == 0
    eye = Eye("clip")
    reference, texts = eye.features(expected_set(info, GOOD, 10_000_000)), eye.embed_texts(CAPTIONS).astype(float)
    for row, old in zip(report["rows"], before["rows"], strict=True):
        own = expected_set(info, row["steps"], 0, accel="" if row["accel"] == "none" else "x")
        kernel = kernel_distance(eye.features(own), reference)
        assert row["fid"] == pytest.approx(frechet_distance(reference, eye.features(own)))
        assert row["fid_excess"] == pytest.approx(row["fid"] - report["fid_floor"])
        assert (row["kid_inception"], row["kid_inception_error"]) == pytest.approx((kernel.mean, kernel.error))
        assert row["clip"] == pytest.approx((eye.embed_images(own) * texts).sum(axis=1).mean())
        assert row["clip_scorer"] == old["clip"] and row["fd"] == old["fd"]
    assert report["backbones"]["clip"] == "my-clip (636c69700000)"
    assert before["backbones"].keys() == {"fd", "kid", "clip"} and set(before["backbones"].values()) == {
        f"scorer ({scorer.sha256[:12]})"
    }
    text = markdown(report)
    head = next(line for line in text.splitlines() if line.startswith("| pictures"))
    assert "| CLIP (my-clip) | CLIP (scorer) | FID (my-inception) | excess | KID × 1000 (my-inception) | PSNR |" in head
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in lines}) == 1
    assert "FID, KID by my-inception (696e63657074)" in text and f"N = {LEAST} is few for 2048 features" in text
