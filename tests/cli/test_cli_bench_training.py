"""``fastdiff bench --training``: what is refused, and a table of one and two processes."""

from __future__ import annotations

import json

import pytest


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--training", "--accel", "teacache", "--runs", "2"], "--accel, --runs: not of --training; valid: --devices"),
        (["--training", "--devices", "1,none"], "--devices 'none' is not valid; it must be a whole number of at least"),
        (["--training", "steps=0"], "steps '0' is not valid"),
        (["--devices", "2"], "--devices says what to train; add --training"),
        (["pcm", "batch=4"], "pcm batch=4 says what to train; add --training"),
        (["--training", "--out", "table.txt"], "--out 'table.txt' must end in .json or .md"),
    ],
    ids=" ".join,
)
def test_what_is_wrong_is_said_in_one_line(fastdiff, words, message):
    done = fastdiff("bench", *words)
    assert done.exit_code == 2
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert message in line


@pytest.mark.slow
def test_a_table_of_one_and_two_processes(fastdiff, tiny, tmp_path):
    (tmp_path / "prompts.txt").write_text("a red apple\na blue house\na cat\n")
    keys = "steps=6 batch=3 rank=2 phases=2 solver_steps=4 examples=6 teacher_steps=2 targets=[attention] compile=false"
    words = ["pcm", *keys.split(), f"prompts={tmp_path / 'prompts.txt'}", "--model", tiny, "--recipe", "flux-emoji"]
    done = fastdiff("bench", "--training", *words, "--devices", "1,2", "--out", "table.md", "--json")
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["method"] == "pcm" and found["steps"] == 6
    one, two = found["rows"]
    assert (one["devices"], one["batch"], two["devices"], two["batch"]) == (1, 3, 2, 6)
    assert one["scaling_efficiency"] == 1.0 and two["scaling_efficiency"] > 0
    for row in found["rows"]:
        assert row["samples_per_s"] == pytest.approx(row["batch"] / row["step_s"])
        assert row["samples_per_s_per_device"] == pytest.approx(row["samples_per_s"] / row["devices"])
        assert row["memory_mb"] is None or 100 < row["memory_mb"] < 10000
    lines = (tmp_path / "table.md").read_text().splitlines()
    assert lines[0].startswith("| devices | batch | s/step | samples/s |") and len(lines) == 4
