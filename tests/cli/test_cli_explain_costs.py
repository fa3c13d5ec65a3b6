"""``fastdiff explain`` on models without weights: what a run would cost."""

from __future__ import annotations

import json


def test_a_model_is_explained_without_its_weights(fastdiff):
    words = [
        "explain",
        "--model",
        "flux.1-dev",
        "--size",
        1024,
        "--steps",
        28,
        "--accel",
        "teacache:threshold=0.4,cinn",
    ]
    done = fastdiff(*words, "--dtype", "bfloat16", "--tflops", 200)
    shown = " ".join(done.stdout.split())
    assert done.exit_code == 0
    assert "weights 16.87 G (transformer 11.9 G" in shown and "33.74 GB in bfloat16" in shown
    assert "tokens 4096 of the image, 512 of the text" in shown and "work 28 evaluations of 74.38 TFLOP" in shown
    assert "x ? cinn: depends on the picture, or was never measured" in shown
    assert "x 1.8 teacache: published for FLUX.1-dev" in shown and "latency 10.4 s plain" in shown
    content = json.loads(fastdiff(*words, "--json").stdout)["costs"]
    assert content["evaluations"] == 28 and content["cache_bytes"]["bfloat16"] == 2 * 2 * 4096 * 3072
    assert [entry["name"] for entry in content["factors"]] == ["teacache"] and "latency" not in content


def test_what_is_not_known_is_said(fastdiff):
    done = fastdiff("explain", "--model", "flux.1-schnell", "--accel", "taylorseer:mode=module:force=true")
    shown = " ".join(done.stdout.split())
    assert "cache not known: it caches modules" in shown and "x ? taylorseer" in shown


def test_a_machine_that_computes_nothing_is_refused(fastdiff):
    done = fastdiff("explain", "--accel", "cinn", "--tflops", 0)
    assert done.exit_code == 2 and "--tflops 0 is not valid" in done.stderr
