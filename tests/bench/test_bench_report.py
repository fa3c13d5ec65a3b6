"""The report: figures, flags, JSON keys, table and Markdown."""

import io
import json

import numpy as np
import pytest
from rich.console import Console
from scripted import BEHAVIOURS, MACHINE, MODEL, STEPS, ScriptedPipe, measure

from fastdiffusers.bench.arms import LeftOut
from fastdiffusers.bench.markdown import markdown
from fastdiffusers.bench.report import report
from fastdiffusers.bench.table import show

PLAIN = 0.02 + 0.1 * STEPS + 0.03
FAST = 0.02 + 0.05 * STEPS + 0.03


def reported(words, **options):
    left_out = [LeftOut("needy", "it needs wings")]
    return report(measure(words, **options), MACHINE, MODEL, "not measured", left_out, "fastdiff bench")


def rows(words, **options):
    return {row["accel"]: row for row in reported(words, **options)["rows"]}


def printed(data, width=80):
    stream = io.StringIO()
    show(data, Console(file=stream, width=width))
    return stream.getvalue()


def test_medians_spread_and_speed_up():
    # the script slows single runs: a median is not moved by that, the range is
    pipe = ScriptedPipe(lambda call: 3.0 if call in (6, 10) else 1.0)  # fast in round 1, plain in round 2
    fast = rows(["fast"], pipe=pipe, runs=3, prompts=("a",))["fast"]
    assert fast["latency"]["n"] == 3
    assert fast["latency"]["median"] == pytest.approx(FAST)
    assert fast["latency"]["min"] == pytest.approx(FAST)
    assert fast["latency"]["max"] == pytest.approx(FAST + 2 * 0.05 * STEPS)
    assert fast["speedup"] == pytest.approx(PLAIN / FAST)
    low, high = fast["speedup_range"]
    assert low == pytest.approx(PLAIN / (FAST + 0.1 * STEPS))
    assert high == pytest.approx((PLAIN + 0.2 * STEPS) / FAST)
    assert fast["stages"] == pytest.approx({"text": 0.02, "denoise": 0.5, "decode": 0.03})
    assert fast["attach_s"] == pytest.approx(7.0)


def test_the_promised_keys_are_there_and_the_baseline_is_first():
    data = json.loads(json.dumps(reported(["fast", "idle"]), allow_nan=False))
    assert {"machine", "baseline", "rows"} <= data.keys()
    assert data["baseline"] == data["rows"][0]["accel"] == "none"
    for row in data["rows"]:
        assert {
            "accel",
            "engaged",
            "latency",
            "stages",
            "speedup",
            "peak_memory_mb",
            "compile_s",
            "quality",
        } <= row.keys()
        assert {"median", "min", "max", "n"} <= row["latency"].keys()
        assert {"psnr", "ssim", "rel_l1"} <= row["quality"].keys()
        assert {"text", "denoise", "decode"} == row["stages"].keys()
        assert isinstance(row["records"], list)
    record = data["rows"][1]["records"][0]
    assert {"name", "options", "requested", "engaged", "source", "reason", "effect"} <= record.keys()
    assert data["settings"]["seeds"] == [5, 6] and data["settings"]["prompts"] == ["a", "b"]


def test_quality_is_against_the_baseline_of_the_same_prompt():
    quality = rows(["fast"])["fast"]["quality"]
    assert quality["psnr"] == pytest.approx(20 * np.log10(255 / 10))  # every pixel is 10 of 255 off
    assert quality["rel_l1"] == pytest.approx(0.05)  # 0.1 of 2
    assert quality["ssim"] == pytest.approx(
        2 * 100 * 110 / (100**2 + 110**2), abs=1e-3
    )  # flat pictures: brightness only
    assert not quality["identical"] and quality["n"] == 2
    assert quality["worst"]["psnr"] == pytest.approx(quality["psnr"])


def test_an_equal_picture_has_no_psnr_and_is_called_identical():
    row = rows(["compiled"])["compiled"]
    assert row["quality"]["psnr"] is None and row["quality"]["identical"] and row["quality"]["identical_latents"]
    assert row["quality"]["ssim"] == pytest.approx(1.0) and row["quality"]["rel_l1"] == 0.0


def test_compile_seconds_are_those_the_accelerator_reports():
    found = rows(["compiled", "fast"])
    assert found["compiled"]["compile_s"] == 1.5
    assert found["fast"]["compile_s"] is None


def test_an_arm_that_did_not_engage_is_flagged_everywhere():
    data = reported(["idle", "fast"])
    found = {row["accel"]: row for row in data["rows"]}
    assert found["none"]["engaged"] and found["fast"]["engaged"] and not found["idle"]["engaged"]
    assert found["idle"]["records"][0]["engaged_runs"] == 0
    note = "idle: idle DID NOT ENGAGE: skipped 0 of 10 steps"
    assert note in data["notes"]
    assert note in printed(data) and "NO" in printed(data)
    assert "| `idle` | **NO** |" in markdown(data)


def test_an_arm_that_engaged_in_some_runs_only_is_flagged_too():
    data = reported(["moody"])
    row = data["rows"][1]
    assert not row["engaged"] and row["records"][0]["engaged_runs"] == 2 and row["records"][0]["runs"] == 4
    assert row["records"][0]["effects"] == ["seen with prompt a", "seen with prompt b"]
    assert any("DID NOT ENGAGE in 2 of 4 runs" in note for note in data["notes"])
    assert "PARTLY" in printed(data)


def test_overlapping_times_are_called_indistinguishable():
    # `idle` costs as much as plain sampling: alternating noise puts it on both sides
    data = reported(["idle"], pipe=ScriptedPipe(lambda call: 1.0 + 0.2 * (call % 3)))
    row = data["rows"][1]
    assert row["distinguishable"] is False
    assert any("idle: its time is not distinguishable" in note for note in data["notes"])
    assert any("noisy machine" in note for note in data["notes"])
    clear = reported(["fast"])
    assert clear["rows"][1]["distinguishable"] is True
    assert not any("distinguishable" in note or "noisy" in note for note in clear["notes"])


def test_one_round_is_said_to_have_no_spread():
    data = reported(["fast"], prompts=("a",), runs=1)
    assert data["rows"][1]["distinguishable"] is None
    assert any("one round only" in note for note in data["notes"])


def test_a_control_that_is_nearer_than_the_cache_is_pointed_out():
    data = reported(["fast"], controls=True)
    control = data["rows"][2]
    assert control["control_of"] == "fast" and control["steps"] == 5
    assert data["rows"][1]["computed_steps"] == 5
    # its picture is 5 of 255 off, the cache's 10
    assert any(
        "plain sampling with 5 steps is nearer" in note and "34.2 against 28.1 dB" in note for note in data["notes"]
    )


def test_a_failed_arm_has_no_figures_and_is_flagged():
    data = reported(["failing"])
    row = data["rows"][1]
    assert row["error"] == "RuntimeError: out of luck" and not row["engaged"]
    assert row["latency"] is None and row["speedup"] is None and row["quality"] is None
    assert "FAILED" in printed(data) and "**FAILED**" in markdown(data)


def test_a_promise_of_equal_bits_is_checked():
    class Rounding(ScriptedPipe):
        def __call__(self, prompt, **options):
            output = super().__call__(prompt, **options)
            output.latents = output.latents + (1e-6 if self.attached else 0)
            return output

    data = reported(["compiled"], pipe=Rounding())
    assert any("promises the same bits" in note for note in data["notes"])


def test_an_interrupted_bench_is_marked_partial():
    class Interrupted(ScriptedPipe):
        def __call__(self, prompt, **options):
            if len(self.calls) == 8:
                raise KeyboardInterrupt
            return super().__call__(prompt, **options)

    data = reported(["fast"], pipe=Interrupted())
    assert data["partial"] and data["settings"]["rounds"] == 1 and data["settings"]["rounds_planned"] == 4
    assert "PARTIAL: interrupted after 1 of 4 rounds" in printed(data)
    assert "PARTIAL" in markdown(data)


def test_nothing_but_a_heading_when_interrupted_before_the_first_round():
    class Interrupted(ScriptedPipe):
        def __call__(self, prompt, **options):
            raise KeyboardInterrupt

    data = reported(["fast"], pipe=Interrupted())
    assert data["rows"] == [] and data["partial"]
    assert "PARTIAL" in printed(data) and "PSNR" not in printed(data) and markdown(data)


def test_stats_that_json_cannot_hold_become_plain(monkeypatch):
    stats = {"worst": float("inf"), "n": np.int64(3), "curve": np.array([0.5, np.nan]), "kinds": ("a", "b")}
    monkeypatch.setattr(BEHAVIOURS["compiled"], "stats", stats)
    data = json.loads(json.dumps(reported(["compiled"]), allow_nan=False))
    expected = {"worst": None, "n": 3, "curve": [0.5, None], "kinds": ["a", "b"]}
    assert data["rows"][1]["records"][0]["stats"] == expected


def test_the_table_fits_80_columns_even_with_long_arms():
    words = ["lightning:adapter=/a/rather/long/path/to/an/adapter.safetensors:scale=0.75"]
    data = reported(["fast"])
    data["rows"][1]["accel"] = words[0]
    lines = printed(data).splitlines()
    assert max(len(line.rstrip()) for line in lines) <= 80
    header = next(line for line in lines if line.startswith("arm"))
    assert all(name in header for name in ("engaged", "time s (min–max)", "PSNR", "SSIM", "relL1", "MiB"))


def test_markdown_has_a_table_row_for_each_arm_and_the_method():
    page = markdown(reported(["fast", "idle"]))
    assert "| arm | engaged | latency s (min–max) | speed-up |" in page
    assert "| `fast` | yes | 0.550 (0.550–0.550) | 1.91 (1.91–1.91) | 28.1 |" in page
    assert "4 interleaved rounds" in page and "command: `fastdiff bench`" in page and "needy: it needs wings" in page
