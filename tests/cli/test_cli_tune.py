"""``fastdiff tune`` on a real pipeline, and what takes the profile afterwards."""

import importlib
import json
from pathlib import Path

import pytest

from fastdiffusers.models.info import describe
from fastdiffusers.plugins import registry
from fastdiffusers.profiles import profiles_file

PROMPTS = "a red apple\na cat on a mat\n"
STEPS = ("--steps", "8")


@pytest.fixture
def tune(fastdiff, tiny, tmp_path):
    (tmp_path / "prompts.txt").write_text(PROMPTS)

    def call(*words):
        return fastdiff("tune", "--model", tiny, "--prompts", "prompts.txt", *STEPS, *words)

    return call


def profiles(tmp_path):
    return [
        entry
        for file in (tmp_path / "home" / "profiles").glob("*.json")
        for entry in json.loads(file.read_text())["profiles"]
    ]


def test_tune_then_explain_infer_bench_list_forget(tune, fastdiff, tiny, tmp_path):
    result = tune("--accel", "taylorseer:order=0", "--max-distance", "0.9", "--trials", "3")
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[0] == ("taylorseer on tiny, 32x32, 8 steps, float32, 2 prompts; wanted: a distance of at most 0.9")
    (profile,) = profiles(tmp_path)
    value = profile["value"]
    assert isinstance(value, int) and 2 <= value <= 10
    assert f"interval={value} was measured again and meets the target; profile in" in result.stdout
    assert "`--accel taylorseer:order=0:profile=auto` takes it" in lines[-1]
    chosen = next(line.split() for line in lines if line.endswith("chosen"))
    assert chosen[0] == str(value) and len(chosen) == 8
    assert profile["target"] == {"max_distance": 0.9} and profile["measured"]["distance"] <= 0.9
    assert profile["measured"]["prompts"] == 2 and profile["fixed"]["order"] == 0
    assert [profile[name] for name in ("steps", "height", "dtype")] == [8, 32, "float32"]
    assert profile["made"]["paddle"] and not (tiny / "calibration").exists()

    auto = "taylorseer:order=0:profile=auto"
    told = f"interval={value} is from the profile tuned on"
    result = fastdiff("explain", "--model", tiny, "--accel", auto, *STEPS)
    assert result.exit_code == 0 and f"interval={value}:order=0:mode=lite" in result.stdout and told in result.stdout
    result = fastdiff("explain", "--model", tiny, "--accel", "taylorseer:profile=auto", *STEPS)
    assert result.exit_code == 2 and "there is no profile of taylorseer on tiny for 8 steps" in result.stderr
    assert result.stderr.count("\n") == 1 and "there are: 8 steps at 32x32 in float32, order=0" in result.stderr
    result = fastdiff("infer", "a cat", "--model", tiny, "--accel", auto, *STEPS, "--dtype", "bfloat16")
    assert result.exit_code == 2 and "in bfloat16, order=0; there are: 8 steps at 32x32 in float32" in result.stderr
    result = fastdiff("infer", "a cat", "--model", tiny, "--accel", auto, *STEPS, "--out", "cat.png", "--json")
    (record,) = json.loads(result.stdout)["accelerators"]
    assert record["options"]["interval"] == value and record["notes"][0].startswith(told)
    assert fastdiff("infer", "a cat", "--model", tiny, "--accel", auto, *STEPS, "--out", "cat.png").stdout.count(
        "profile"
    )
    result = fastdiff(
        "bench", "--model", tiny, "--accel", auto, *STEPS, "--prompts", "prompts.txt", "--runs", "1", "--out", "b.md"
    )
    assert result.exit_code == 0 and told in (tmp_path / "b.md").read_text()

    result = fastdiff("tune", "--list", "--model", tiny)
    assert result.exit_code == 0 and f"taylorseer:interval={value}" in result.stdout
    assert json.loads(fastdiff("tune", "--list", "--model", tiny, "--json").stdout)["profiles"] == [profile]
    result = tune("--accel", "taylorseer:order=0", "--forget")
    assert result.exit_code == 0 and result.stdout.startswith(f"forgotten: {told}") and not profiles(tmp_path)
    # a picture that was drawn with the profile needs it no more
    result = fastdiff("infer", "--from", "cat.png", "--model", tiny)
    assert result.exit_code == 0 and "has the very bytes of" in result.stdout
    result = tune("--accel", "taylorseer:order=0", "--forget")
    assert result.exit_code == 2 and "there is no profile of taylorseer on tiny" in result.stderr
    assert "no profiles for tiny; `fastdiff tune" in fastdiff("tune", "--list", "--model", tiny).stdout


def test_an_accelerator_by_strangers_is_tuned_as_ours_are(tune, fastdiff, tiny, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "sample_plugin"))
    monkeypatch.setenv("FASTDIFFUSERS_PLUGINS", "fastdiff_sample_haste")
    registry.cache_clear()
    try:
        result = tune("--accel", "haste:start=0.25", "--min-psnr", "1", "--trials", "2")
        assert result.exit_code == 0, result.stderr
        assert "`--accel haste:start=0.25:profile=auto` takes it" in result.stdout
        (profile,) = profiles(tmp_path)
        assert (profile["option"], profile["value"], profile["fixed"]) == ("skip", 1.0, {"start": 0.25})
        result = fastdiff("explain", "--model", tiny, "--accel", "haste:start=0.25:profile=auto", *STEPS)
        assert result.exit_code == 0 and "leaves out 4 of 4 single blocks" in result.stdout
    finally:
        registry.cache_clear()


def test_a_target_out_of_reach_keeps_nothing(tune, tmp_path):
    result = tune("--accel", "taylorseer", "--target-speedup", "500", "--trials", "2", "--json")
    assert result.exit_code == 2 and not profiles(tmp_path)
    data = json.loads(result.stdout)
    assert data["choice"] is None and data["profile"] is None and [t["value"] for t in data["trials"]] == [3, 10]
    assert not any(trial["met"] for trial in data["trials"]) and data["target"] == {"target_speedup": 500}
    assert len(data["notes"]) <= 1
    assert "taylorseer does not reach a speed-up of at least 500× on tiny, interval from 2 to 10: " in result.stderr
    assert "at interval=" in result.stderr and result.stderr.endswith("no profile was kept\n")


def test_ctrl_c_keeps_nothing_and_shows_what_was_measured(tune, tmp_path, monkeypatch):
    module = importlib.import_module("fastdiffusers.tuning.tune")
    real, calls = module.measure_trial, []

    def measure(*arguments):
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(module, "measure_trial", measure)
    result = tune("--accel", "taylorseer", "--max-distance", "0.5")
    assert result.exit_code == 130
    assert result.stderr.splitlines()[-1] == "interrupted: 1 setting measured, no profile was kept"
    assert "an uncached picture takes" in result.stdout and not profiles(tmp_path)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--accel", "seacache"],
            "exactly one target of --max-distance, --min-psnr, --target-speedup and --latency, got none",
        ),
        (["--accel", "seacache", "--latency", "6s", "--min-psnr", "30"], "got --min-psnr and --latency"),
        (["--latency", "6s"], "tune needs --accel"),
        (["--accel", "seacache", "--latency", "soon"], "--latency 'soon' is not valid"),
        (["--accel", "seacache", "--max-distance", "-1"], "--max-distance -1 is not valid"),
        (["--accel", "static", "--latency", "6s"], "static has no option that can be tuned"),
        (["--accel", "seacache:threshold=1", "--latency", "6s"], "leave threshold=1 out"),
        (["--accel", "seacache", "--accel", "fbcache", "--latency", "6s"], "--accel was given 2 times"),
        (["--accel", "seacache", "--latency", "6s", "--trials", "0"], "--trials 0 is not valid"),
        (["--accel", "seacache", "--latency", "6s", "--dtype", "int4"], "unknown dtype 'int4'"),
        (["--accel", "seacache", "--latency", "6s", "--steps", "4"], "at least 8 steps"),
        (["--list", "--accel", "seacache"], "--list shows all profiles"),
        (["--accel", "seacache", "--forget", "--latency", "6s"], "leave --latency out"),
    ],
)
def test_what_is_refused_before_anything_is_loaded(fastdiff, words, message):
    result = fastdiff("tune", *words)
    assert result.exit_code == 2 and message in result.stderr and result.stderr.count("\n") == 1
    assert result.stdout == ""


def test_profiles_that_cannot_be_read_or_kept_are_found_out_first(tune, tiny, tmp_path):
    (tmp_path / "home").write_text("a file where the cache's folder should be")
    result = tune("--accel", "taylorseer", "--max-distance", "0.5")
    assert result.exit_code == 2 and "cannot write into" in result.stderr and result.stdout == ""
    (tmp_path / "home").unlink()
    file = profiles_file(describe(tiny))
    file.parent.mkdir(parents=True)
    file.write_text("{")
    result = tune("--accel", "taylorseer", "--max-distance", "0.5")
    assert result.exit_code == 2 and "cannot be read" in result.stderr and result.stdout == ""
