"""``fastdiff distill``: dry run, words that are wrong, and a tiny distillation from teacher to picture."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from programs import environment
from safetensors.numpy import load_file

PROMPTS = "a red apple\ntwo blue houses by the sea\na cat on a mat\n"
SMALL = """
terms: [consistency]
phases: 2
solver_steps: 4
rank: 2
targets: [attention]
examples: 6
teacher_steps: 2
steps: 6
batch: 3
lr: 5e-2
warmup_steps: 0
ema: 0.0
compile: false
checkpoint_every: 2
sample_every: 3
validation_prompts: 4
best_by: rmse
"""


@pytest.fixture
def recipe(tmp_path: Path) -> list[str]:
    """The words of a distillation that takes seconds, but for its model."""
    (tmp_path / "prompts.txt").write_text(PROMPTS)
    (tmp_path / "small.yaml").write_text(SMALL)
    return ["--recipe", str(tmp_path / "small.yaml"), f"prompts={tmp_path / 'prompts.txt'}"]


@pytest.mark.parametrize("method", ["pcm", "flux-lightning", "lcm", "dmd2"])
def test_a_dry_run_says_everything_and_leaves_nothing(fastdiff, tiny, tmp_path, method):
    (tmp_path / "prompts.txt").write_text(PROMPTS)
    words = ["--recipe", "flux-emoji", "--model", tiny, f"prompts={tmp_path / 'prompts.txt'}", "rank=2", "workers=1"]
    words += ["start="] if method in ("dmd2", "flux-lightning") else []
    done = fastdiff("distill", method, *words, "--dry-run", "--json")
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["method"] == method and found["recipe"]["rank"] == 2 and found["recipe"]["model"] == str(tiny)
    assert found["out"].endswith(f"/{method}-4") and str(tmp_path / "home") in found["out"]
    opponents = {"flux-lightning": {"heads"}, "dmd2": {"critic"}}.get(method, set())
    assert found["trained_parameters"].keys() == {"student"} | opponents
    recipe = found["recipe"]
    order = "S"
    if opponents:
        order = (
            "O" * recipe["opponent_warmup"] + ("O" * recipe["opponent_turns"] + "S" * recipe["lazy"]) * recipe["steps"]
        )
    assert found["student_steps"] == (order * recipe["steps"])[: recipe["steps"]].count("S")
    assert len(found["levels"]) == found["recipe"]["phases"] + 1 and found["memory_gib"] > 0
    said = done.stderr
    for line in (
        "teacher: tiny",
        "student: ",
        "loss: 0.3 × dmd" if method == "dmd2" else "loss: 1 × consistency",
        "levels of",
        "schedule: ",
        "examples: ",
        "memory",
    ):
        assert line in said, line
    assert f"  checkpoint_every = {recipe['checkpoint_every']}" in said
    assert not (tmp_path / "home").exists()


def test_a_dry_run_reads_no_weights(fastdiff, tiny, tmp_path):
    """The networks are as large as the configuration says, and only that is read."""
    (tmp_path / "prompts.txt").write_text(PROMPTS)
    words = ["--recipe", "flux-emoji", f"prompts={tmp_path / 'prompts.txt'}", "--dry-run", "--json"]
    whole = json.loads(fastdiff("distill", "pcm", "--model", tiny, *words).stdout)
    copy = tmp_path / "tiny"
    shutil.copytree(tiny, copy)
    for file in copy.rglob("*.safetensors"):
        head = 8 + int.from_bytes(file.read_bytes()[:8], "little")
        with open(file, "r+b") as stream:
            stream.truncate(head)
    done = fastdiff("distill", "pcm", "--model", copy, "--out", "mine", *words)
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    for name in ("trained_parameters", "frozen_parameters", "memory_gib", "levels"):
        assert found[name] == whole[name]


def test_families_that_say_nothing_of_it_are_not_distilled(fastdiff, tiny, tmp_path, monkeypatch):
    from fastdiffusers.plugins import registry

    families = registry().pipelines
    monkeypatch.setitem(families, "flux", dataclasses.replace(families["flux"], teachers=""))
    (tmp_path / "prompts.txt").write_text(PROMPTS)
    for more in (["--dry-run"], []):
        words = ["--recipe", "flux-emoji", f"prompts={tmp_path / 'prompts.txt'}", "workers=1", *more]
        done = fastdiff("distill", "pcm", "--model", tiny, *words)
        assert done.exit_code == 2 and "tiny is of the family flux; distillation trains: sd15, sdxl" in done.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["pcmm"], "unknown method 'pcmm'; valid: dmd2, flux-lightning, lcm, pcm"),
        (["pcm", "stepz=3"], "unknown recipe key 'stepz'; valid: "),
        (["pcm", "steps"], "'steps' is not of the form key=value"),
        (["pcm", "steps=0"], "recipe key 'steps' is 0; valid is at least 1"),
        (["pcm", "steps=many"], "recipe key 'steps' is 'many'; valid is a whole number"),
        (
            ["pcm", "dmd_weight=0.1"],
            "recipe key 'dmd_weight' belongs to the term dmd, which is not among terms=consist",
        ),
        (["pcm", "lazy=4"], "lazy=4 is for terms beside the first, or with an opponent, and terms=consistency has"),
        (["pcm", "shift=0"], "recipe key 'shift' is 0.0; valid is at least 0.01"),
        (["import-args", "train_lcm.py", "--model", "x"], "--model has no effect on import-args; valid: --out, --json"),
        (["curves", "x", "--dry-run"], "--dry-run has no effect on curves; valid: --out, --json"),
        (["pcm", "terms=[consistensy]"], "unknown term 'consistensy'; valid: adversarial, consistency"),
        (["pcm", "start=nowhere"], "unknown value of recipe key 'start': 'nowhere'; valid: dmd2, flux-lightning"),
        (["pcm", "start=lcm"], "start=lcm, but there is no lcm adapter for tiny; train one (fastdiff distill lcm)"),
        (["pcm", "phases=5"], "solver_steps 8 is no multiple of phases 5"),
        (["pcm", "method=lcm"], "recipe key 'method' is the first word of the command"),
        (["pcm", "targets=[attn]"], "unknown target 'attn'; valid: all, attention"),
        (["pcm", "precision=bf16-o2"], "precision=bf16-o2 has no effect on a CPU; valid here: float32"),
        (["pcm", "--resume", "always"], "unknown value of --resume: 'always'; valid: auto, never"),
        (
            ["pcm", "--recipe", "nothing"],
            "unknown recipe of pcm: 'nothing'; valid: flux-emoji, flux.1-dev, sd15, sdxl, or a YAML",
        ),
        (["pcm", "--recipe", "nothing.yaml"], "cannot read recipe 'nothing.yaml'"),
        (
            ["pcm", "--data", "nowhere"],
            "trajectories=true needs data=teacher, got data=nowhere; on pictures, set it to",
        ),
        (["pcm", "--data", "nowhere", "trajectories=false"], "data 'nowhere' does not exist"),
        (
            ["pcm", "--data", "teacher", "data=teacher"],
            "--data and the recipe key data= are the same; give one of them",
        ),
        (["import-args"], "import-args needs the command"),
        (["import-args", "train_lcm.py --flag_of_mine 3"], "flag_of_mine"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_is_wrong_is_said_in_one_line(fastdiff, tiny, words, message):
    more = [] if words[0] in ("import-args", "curves") else ["--model", tiny, "--dry-run"]
    if words[0] == "pcm" and "--recipe" not in words:
        more += ["--recipe", "flux-emoji"]
    done = fastdiff("distill", *words, *more)
    assert done.exit_code == 2
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert message in line


def test_a_recipe_of_the_predecessor_is_one_that_is_understood(fastdiff, tiny, tmp_path):
    (tmp_path / "list.txt").write_text("shard.tsv\n")
    command = f"train_lcm.py --max_steps 7 --pretrained_model_name_or_path {tiny} --lora_rank 3 --file_list list.txt"
    done = fastdiff("distill", "import-args", command, "--out", "imported.yaml")
    assert done.exit_code == 0, done.stderr
    assert done.stdout.startswith("fastdiff distill lcm --recipe imported.yaml ")
    done = fastdiff("distill", "lcm", "--recipe", "imported.yaml", "resolution=32", "--dry-run", "--json")
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)["recipe"]
    assert (found["steps"], found["rank"], found["model"]) == (7, 3, str(tiny))


def test_from_teacher_to_picture(fastdiff, tiny, recipe, tmp_path):
    done = fastdiff("distill", "pcm", *recipe, "--model", tiny, "--json")
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    folder = Path(found["out"])
    assert folder.name == "pcm-2" and tmp_path / "home" in folder.parents
    assert found["use"] == f"fastdiff infer --accel pcm:steps=2 --model {tiny}"
    card = json.loads((folder / "fastdiff.json").read_text())
    assert (card["method"], card["steps"], card["base"], card["sampler"]) == ("pcm", 2, "tiny", "euler")
    assert card["guidance_min"] == card["guidance_max"] == 3.5
    assert card["metrics"]["rmse"] == pytest.approx(found["rmse"])
    assert {"best_step", "rmse", "saturation", "contrast", "diversity", "training"} <= found.keys()
    assert Image.open(folder / "samples" / "step-00000003.png").size == (12 * 32, 2 * 32)

    pictures = {}
    for name, words in {
        "teacher": ["--steps", "2"],
        "found": ["--accel", "pcm"],
        "by steps": ["--accel", "pcm:steps=2"],
        "by path": ["--accel", f"pcm:adapter={folder}"],
        "off": ["--accel", f"pcm:adapter={folder}:scale=0"],
    }.items():
        out = tmp_path / f"{name}.png"
        drawn = fastdiff("infer", "a red apple", "--model", tiny, "--out", out, "--json", *words)
        assert drawn.exit_code == 0, drawn.stderr
        pictures[name] = np.asarray(Image.open(out))
        told = json.loads(drawn.stdout)
        assert told["settings"]["steps"] == 2
        if name != "teacher":
            (record,) = told["accelerators"]
            assert record["engaged"] == (name != "off") and record["effect"].startswith("2 steps; ")
    assert (pictures["found"] == pictures["by steps"]).all() and (pictures["found"] == pictures["by path"]).all()
    assert (pictures["off"] == pictures["teacher"]).all()
    assert (pictures["found"] != pictures["teacher"]).any()

    refused = fastdiff("infer", "a red apple", "--model", tiny, "--accel", "pcm:steps=4")
    assert refused.exit_code == 2 and "there is no pcm adapter of 4 steps for tiny; valid: 2" in refused.stderr


def test_the_same_command_again_finds_it_done_another_recipe_is_refused_and_never_begins_anew(
    fastdiff, tiny, recipe, tmp_path
):
    words = ["distill", "pcm", *recipe, "--model", tiny, "--out", "mine"]
    done = fastdiff(*words)
    assert done.exit_code == 0, done.stderr
    assert f"use: fastdiff infer --accel pcm:adapter=mine --model {tiny}" in done.stdout.splitlines()
    first = load_file("mine/adapter.safetensors")
    starts = lambda: [  # noqa: E731
        event["step"]
        for event in map(json.loads, Path("mine/log.jsonl").read_text().splitlines())
        if event["event"] == "start"
    ]
    assert fastdiff(*words).exit_code == 0 and starts() == [0, 6]
    again = load_file("mine/adapter.safetensors")
    assert all((again[name] == value).all() for name, value in first.items())

    other = fastdiff(*words, "seed=5")
    assert other.exit_code == 2 and "was made with seed=0, now it is 5" in other.stderr
    assert fastdiff(*words, "seed=5", "--resume", "never").exit_code == 0
    assert starts() == [0, 6, 0]
    anew = load_file("mine/adapter.safetensors")
    assert any((anew[name] != value).any() for name, value in first.items())


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_killed_and_started_again_gives_the_same_adapter_bit_for_bit(tiny, recipe, tmp_path, command, workers):
    words = [*command, "distill", "flux-lightning", *recipe, "--model", str(tiny), f"workers={workers}"]
    words += ["terms=[consistency,adversarial,dmd,reflow]", "ema=0.9", "edge_from=0.2", "steps=12"]

    def start(out: str) -> subprocess.Popen:
        return subprocess.Popen(
            [*words, "--out", out],
            cwd=tmp_path,
            env=environment(tmp_path),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    whole = start("whole")
    assert whole.wait(300) == 0, whole.stderr.read()
    cut = start("cut")
    checkpoint = tmp_path / "cut" / "checkpoints" / "step-00000004"
    for _ in range(3000):
        if checkpoint.exists() or cut.poll() is not None:
            break
        time.sleep(0.01)
    assert cut.poll() is None, cut.stderr.read()
    os.killpg(cut.pid, signal.SIGKILL)
    cut.wait()
    assert not (tmp_path / "cut" / "fastdiff.json").exists()
    again = start("cut")
    assert again.wait(300) == 0, again.stderr.read()
    found = {name: load_file(tmp_path / name / "adapter.safetensors") for name in ("whole", "cut")}
    assert found["whole"].keys() == found["cut"].keys()
    for name, value in found["whole"].items():
        np.testing.assert_array_equal(found["cut"][name], value, err_msg=name)
    cards = [json.loads((tmp_path / name / "fastdiff.json").read_text()) for name in ("whole", "cut")]
    assert cards[0] == cards[1]


@pytest.mark.slow
def test_two_devices_give_the_adapter_of_one(tiny, recipe, tmp_path, command):
    """With critic, simulation, chance and average; the recipe's workers give way."""
    keys = "terms=[dmd] dmd_on=clean dmd_critic=true dmd_simulation=true dmd_gan_weight=0.1 dmd_critic_lr=0.01 batch=4"
    words = [*command, "distill", "dmd2", *recipe, "--model", str(tiny), *keys.split(), "sampler=lcm", "best_by="]
    words += ["ema=0.9", "workers=2", "lr=1e-2"]
    for name, more in (("one", ["workers=1"]), ("two", ["--devices", "2", "--json"])):
        done = subprocess.run(
            [*words, "--out", name, *more], cwd=tmp_path, env=environment(tmp_path), capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["training"]["workers"] == 2
    found = {name: load_file(tmp_path / name / "adapter.safetensors") for name in ("one", "two")}
    for name, value in found["one"].items():
        np.testing.assert_allclose(found["two"][name], value, rtol=5e-3, atol=5e-4, err_msg=name)
