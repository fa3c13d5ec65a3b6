"""``fastdiff eval``: rankings, folders, options that do not go together, and students against a tiny teacher."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fastdiffusers.distillation.adapter import WEIGHTS, AdapterCard, write_card
from fastdiffusers.models.info import describe
from fastdiffusers.weights.lora import LoraLayer, write_lora

RANKS = "judge,item,method,rank\nann,1,a,1\nann,1,b,2\nbo,1,a,1\nbo,1,b,2\nann,2,a,1\nann,2,b,2\n"


@pytest.fixture
def adapter(tiny: Path, tmp_path: Path) -> str:
    """An adapter of two steps that changes one layer of the tiny model."""
    info = describe(tiny)
    write_card(tmp_path / "adapter", AdapterCard("pcm", info.name, info.sha256, steps=2))
    rng = np.random.default_rng(0)
    down, up = (rng.standard_normal(shape).astype(np.float32) for shape in ((2, 32), (32, 2)))
    layers = {"transformer_blocks.0.attn.to_q": LoraLayer(down, up, 2.0)}
    write_lora(tmp_path / "adapter" / WEIGHTS, layers, {}, dtype="float32")
    return f"pcm:adapter={tmp_path / 'adapter'}"


def test_rankings_as_text_and_as_json(fastdiff, tmp_path):
    (tmp_path / "ranks.csv").write_text(RANKS)
    shown = fastdiff("eval", "rank", "--ranks", "ranks.csv")
    assert shown.exit_code == 0, shown.stderr
    assert shown.stdout.splitlines() == [
        "3 rankings by 2 judges; ranks count 10, 7, 5, 3, 1",
        "  a: 10.00  (95 %: 10.00 to 10.00)",
        "  b: 7.00  (95 %: 7.00 to 7.00)",
        "Kendall's W 1.00 (0: no agreement, 1: perfect)",
    ]
    found = fastdiff("eval", "rank", "--ranks", "ranks.csv", "--json", "--out", "ranks.json")
    report = json.loads(found.stdout)
    assert (report["rankings"], report["judges"], report["kendall_w"]) == (3, 2, 1.0)
    assert report["scores"][0] == {"method": "a", "mean": 10.0, "low": 10.0, "high": 10.0}
    assert json.loads(Path("ranks.json").read_text()) == report
    assert sorted(file.name for file in tmp_path.iterdir()) == ["ranks.csv", "ranks.json"]


def test_one_ranking_has_no_agreement(fastdiff, tmp_path):
    (tmp_path / "ranks.csv").write_text("judge,item,method,rank\nann,1,a,1\nann,1,b,2\n")
    assert json.loads(fastdiff("eval", "rank", "--ranks", "ranks.csv", "--json").stdout)["kendall_w"] is None


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["rnk"], "unknown argument 'rnk'; valid: rank, or none"),
        (["rank"], "give --ranks FILE"),
        (["rank", "--ranks", "nothing.csv"], "cannot read 'nothing.csv'"),
        (["rank", "--ranks", "x.csv", "--accel", "pcm"], "--accel belongs to students against their teacher; this is"),
        (["--ranks", "x.csv"], "--ranks belongs to `fastdiff eval rank`; this is students against their teacher"),
        (["--key", "x.json"], "--key belongs to `fastdiff eval rank`"),
        (["--paired"], "--paired belongs to --folder"),
        (["--folder", "a"], "--folder compares two folders, got 1; give it twice"),
        (["--folder", "a", "--folder", "b", "--sheet", "c"], "--sheet belongs to students against their teacher"),
        (["--folder", "a", "--folder", "b"], "'a' is not a folder of pictures"),
        (["--against", "student:4"], "--against 'student:4' is not valid; it is teacher:STEPS"),
        (["--against", "teacher:0"], "--against 'teacher:0' is not valid"),
        (["--teacher", "4,x"], "--teacher 'x' is not valid; a row is STEPS, STEPS@SHIFT or STEPS@rule, as in 4@2"),
        (["--teacher", "4@nan"], "--teacher '4@nan' is not valid"),
        (["--teacher", "0"], "--teacher '0' is not valid"),
        (["--n", "0"], "--n 0 is not valid"),
        (["--workers", "0"], "workers is 0; it must be at least 1"),
        (["--n", "100"], "100 pictures are too few for a Fréchet distance; at least 128"),
        (["--out", "report.md"], "--out 'report.md' must end in .json"),
        (["--sheet", "s", "--out", "r.json"], "--out 'r.json' is for figures; --sheet draws pictures only"),
        (["--sheet", "s"], "--accel was given 0 times"),
        (["--accel", "pcmm"], "unknown accelerator 'pcmm'"),
        (["--accel", "pcm"], "--accel pcm: pcm is refused: there is no pcm adapter for tiny"),
        (["--accel", "ADAPTER", "--guidance", "9"], "was trained for guidance 3.5, not 9"),
        (["--prompts", "nothing.txt"], "nothing.txt"),
        (["rank", "--ranks", "x.csv", "--clip", "c"], "--clip judges pictures; rankings have none"),
        (["--sheet", "s", "--inception", "i"], "--inception judges pictures; --sheet draws them only"),
        (["--clip", "nothing"], "nothing' is not a folder"),
        (["--inception", "x.safetensors"], "x.safetensors' is not a file; FID's Inception-v3 as safetensors is needed"),
        (["--folder", ".", "--folder", ".", "--clip", "c"], "give --prompts FILE, one a picture"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_is_wrong_is_said_in_one_line(fastdiff, tiny, adapter, tmp_path, words, message):
    (tmp_path / "prompts.txt").write_text("a red apple\n")
    more = [] if {"rank", "rnk", "--folder"} & set(words) else ["--model", tiny]
    more += [] if "--prompts" in words or not more else ["--prompts", "prompts.txt"]
    done = fastdiff("eval", *(adapter if word == "ADAPTER" else word for word in words), *more)
    assert done.exit_code == 2
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert message in line
    assert not (tmp_path / "home").exists()


def test_a_model_without_captions_asks_for_prompts(fastdiff, tiny):
    done = fastdiff("eval", "--model", tiny)
    assert done.exit_code == 2 and "tiny has no captions of its own for evaluations; give --prompts FILE" in done.stderr


def test_blind_sheets_and_their_ranks(fastdiff, tiny, adapter, tmp_path):
    (tmp_path / "prompts.txt").write_text("a red apple\na cat on a mat\n")
    words = ["--model", tiny, "--prompts", "prompts.txt", "--n", "10", "--against", "teacher:3", "--workers", "1"]
    done = fastdiff("eval", *words, "--accel", adapter, "--sheet", "sheets", "--json")
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["methods"] == ["teacher@3 μ 0", adapter] and len(found["sheets"]) == 2
    assert all(Path(sheet).is_file() for sheet in found["sheets"])
    key = json.loads(Path(found["key"]).read_text())
    assert len(key) == 10 and Path(found["key"]).parent == tmp_path
    lines = [f"ann,{entry['item']},{letter},{1 + (entry[letter] != adapter)}" for entry in key for letter in "AB"]
    (tmp_path / "ranks.csv").write_text("\n".join(["judge,item,method,rank", *lines]))
    ranked = fastdiff("eval", "rank", "--ranks", "ranks.csv", "--key", found["key"], "--json")
    scores = {score["method"]: score["mean"] for score in json.loads(ranked.stdout)["scores"]}
    assert scores == {adapter: 10.0, "teacher@3 μ 0": 7.0}


CLIP = Path(__file__).parents[1] / "golden" / "clip"


def test_two_folders_by_a_clip_that_was_given(fastdiff, tmp_path):
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for i in range(66):
            picture = rng.integers(0, 256, (32, 40, 3), dtype=np.uint8)
            Image.fromarray(picture).save(tmp_path / name / f"{i}.png")
    (tmp_path / "prompts.txt").write_text("".join(f"a red apple {i}\n" for i in range(66)))
    words = ["--folder", "a", "--folder", "b", "--prompts", "prompts.txt"]
    done = fastdiff("eval", *words, "--clip", CLIP, "--json")
    assert done.exit_code == 0, done.stderr
    report, plain = json.loads(done.stdout), json.loads(fastdiff("eval", *words, "--json").stdout)
    assert report["clip_network"].startswith("clip (") and report["fd"] == plain["fd"]
    from fastdiffusers.scorer.clip import load_clip

    scorer = load_clip(CLIP)
    texts = scorer.embed_texts([f"a red apple {i}" for i in range(66)])
    for side, folder in (("first", "a"), ("second", "b")):
        pictures = [np.asarray(Image.open(tmp_path / folder / f"{i}.png")) for i in range(66)]
        expected = (scorer.embed_images(pictures).astype(float) * texts).sum(axis=1).mean()
        assert report[f"clip_{side}"] == pytest.approx(expected, abs=1e-6)
        assert report[f"clip_scorer_{side}"] == plain[f"clip_{side}"] != report[f"clip_{side}"]


def test_two_folders(fastdiff, tmp_path):
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for i in range(66):
            picture = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
            Image.fromarray(picture).save(tmp_path / name / f"{i}.png")
    (tmp_path / "prompts.txt").write_text("a red apple\n" * 66)
    words = ["--folder", "a", "--folder", "b", "--prompts", "prompts.txt", "--paired"]
    done = fastdiff("eval", *words, "--json", "--out", "report.json")
    assert done.exit_code == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["n"] == [66, 66] and json.loads((tmp_path / "report.json").read_text()) == report
    names = {"first", "second", "n", "scorer", "fd", "kid", "kid_error", "clip_first", "clip_second", "psnr", "ssim"}
    assert report.keys() == names and report["fd"] > 0 and 0 < report["psnr"] < 30


@pytest.mark.slow
def test_a_student_against_its_teacher(fastdiff, tiny, adapter, tmp_path):
    (tmp_path / "prompts.txt").write_text("a red apple\na cat on a mat\n")
    words = ["eval", "--model", tiny, "--prompts", "prompts.txt", "--n", "128", "--against", "teacher:2"]
    words += ["--teacher", "1,1@1,1@rule", "--workers", "1", "--accel", adapter, "--out", "report.json"]
    words += ["--clip", CLIP]
    done = fastdiff(*words, "--json")
    assert done.exit_code == 0, done.stderr
    report = json.loads(done.stdout)
    assert [(row["label"], row["steps"]) for row in report["rows"]] == [
        ("teacher@2 μ 0", 2),
        ("teacher@1 μ 0", 1),
        ("teacher@1 μ 1", 1),
        ("teacher@1 rule", 1),
        (adapter, 2),
    ]
    assert report["floor"] == report["rows"][0]["fd"] and report["n"] == 128
    assert all(row["latency"] > 0 for row in report["rows"])
    assert json.loads((tmp_path / "report.json").read_text()) == report
    written = (tmp_path / "report.md").read_text()
    assert f"| `{adapter}` | 2 |" in written and "| CLIP (clip) | CLIP (scorer) |" in written
    assert all(row["clip"] != row["clip_scorer"] for row in report["rows"])
    assert Image.open(tmp_path / "report.png").size[0] > 12 * 32
    assert report["rows"][4]["psnr"] != report["rows"][0]["psnr"]
    again = fastdiff(*words, "--no-latency", "--json")  # nothing is drawn anew
    figures = [{**row, "latency": None} for row in report["rows"]]
    assert json.loads(again.stdout)["rows"] == figures
