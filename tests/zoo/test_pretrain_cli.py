"""``fastdiff pretrain`` and ``fastdiff data`` as typed: dry runs, a training, Ctrl-C, and mistakes in one line."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fastdiffusers.zoo.emoji import SAMPLE
from fastdiffusers_cli.app import app
from fastdiffusers_cli.pretrain import without_resume

TINY = ["size=32", "block_out_channels=[8, 8, 8, 8]", "norm_num_groups=4", "latent_channels=4", "workers=1", "batch=4"]


def fastdiff(*words: object):
    return CliRunner().invoke(app, [str(word) for word in words], prog_name="fastdiff")


def test_dry_run_shows_every_key_and_writes_nothing(tmp_path):
    done = fastdiff(
        "pretrain", "vae", "--dry-run", "--data", SAMPLE, "--out", tmp_path / "out", "--json", *TINY, "steps=7"
    )
    assert done.exit_code == 0, done.output
    plan = json.loads(done.stdout)
    assert plan["recipe"]["steps"] == 7 and plan["samples"] == 28 and plan["recipe"]["lr"] == 2e-3
    assert 0 < plan["by_muon"] < plan["trained_parameters"]
    assert "AutoencoderKL 8-8-8-8" in done.stderr and "22 pictures to train on" in done.stderr
    assert not (tmp_path / "out").exists()


def test_trains_from_words_and_goes_on_when_asked_for_more(tmp_path):
    words = ["pretrain", "vae", "--data", SAMPLE, "--out", tmp_path, "--json", *TINY]
    first = fastdiff(*words, "steps=2")
    assert first.exit_code == 0, first.output
    assert json.loads(first.stdout)["training"]["steps"] == 2
    assert (tmp_path / "vae" / "config.json").is_file()
    assert fastdiff(*words, "steps=3").exit_code == 0
    starts = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [event["step"] for event in starts if event["event"] == "start"] == [0, 2]


def test_a_recipe_file_is_read(tmp_path):
    (tmp_path / "mine.yaml").write_text("steps: 5\nbatch: 3\nworkers: 1\n")
    done = fastdiff("pretrain", "text", "--recipe", tmp_path / "mine.yaml", "--data", SAMPLE, "--dry-run", "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["samples"] == 15


def test_ctrl_c_says_how_to_go_on(tmp_path):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    words = ["pretrain", "vae", "--data", str(SAMPLE), "--out", str(tmp_path), *TINY, "log_every=1", "steps=5000"]
    process = subprocess.Popen(
        [sys.executable, "-m", "fastdiffusers_cli", *words], env=environment, stderr=subprocess.PIPE, text=True
    )
    log = tmp_path / "log.jsonl"
    for _ in range(4800):  # a loaded machine takes its time to import and build
        if log.exists() and '"train"' in log.read_text():
            break
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=60)[1].strip().splitlines()
    assert process.returncode == 130
    assert said[-1].startswith("interrupted: stopped after step ")
    assert "the same command goes on from there: fastdiff pretrain vae --data" in said[-1]
    assert list((tmp_path / "checkpoints").glob("step-*"))


@pytest.mark.parametrize("asked", [[], ["--resume", "auto"], ["--resume", "never"], ["--resume=never"]])
def test_the_command_that_goes_on_deletes_nothing(asked):
    words = ["pretrain", "vae", "--data", "never", *asked, "steps=5"]
    assert without_resume(words) == ["pretrain", "vae", "--data", "never", "steps=5"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["pretrain", "vea"], "unknown stage 'vea'; valid: assemble, flux, guidance, scorer, text, vae"),
        (["pretrain", "vae", "stepz=3"], "unknown recipe key 'stepz'; valid: accumulation, "),
        (["pretrain", "vae", "steps=0"], "recipe key 'steps' is 0; valid is at least 1"),
        (["pretrain", "vae", "steps"], "'steps' is not of the form key=value, as in steps=1000"),
        (["pretrain", "vae", "--recipe", "nope"], "unknown recipe 'nope'; valid: flux, guidance, scorer, text, vae"),
        (["pretrain", "vae", "--resume", "maybe"], "unknown value of --resume: 'maybe'; valid: auto, never"),
        (
            ["pretrain", "vae", "--data", "/nonexistent"],
            "no emoji data in '/nonexistent'; build it with `fastdiff data",
        ),
        (["pretrain", "flux", "--data", SAMPLE], "no trained vae in '"),
        (["pretrain", "assemble"], "`fastdiff pretrain vae` writes it"),
        (["pretrain", "assemble", "--recipe", "flux"], "assemble takes no --recipe and no --data"),
        (["pretrain", "assemble", "dtype=int8"], "'int8'; valid: bfloat16, float16, float32"),
        (["data", "emojis"], "unknown data set 'emojis'; valid: emoji"),
        (["data", "emoji", "--size", "5"], "size is 5; valid are 16 to 512 pixels"),
    ],
)
def test_each_mistake_is_one_line_and_exit_code_2(words, message):
    done = fastdiff(*words)
    assert done.exit_code == 2
    assert message in done.stderr
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1


def test_data_passes_its_words_on_and_says_what_it_built(tmp_path, monkeypatch):
    from fastdiffusers.zoo import emoji

    calls = []

    def build(folder: Path, size: int, progress):
        calls.append((folder, size))
        progress("drawing", 4, 4)
        return emoji.DataCard("emoji", 1, size, {"pictures": 9, "concepts": 3}, [], {})

    monkeypatch.setattr(emoji, "build", build)
    done = fastdiff("data", "emoji", "--out", tmp_path, "--size", 64)
    assert done.exit_code == 0 and calls == [(tmp_path, 64)]
    assert f"9 pictures of 3 concepts at 64x64 px in {tmp_path}" in done.stdout
    assert "drawing 4/4" in done.stderr
    assert json.loads(fastdiff("data", "emoji", "--json").stdout)["counts"]["pictures"] == 9
