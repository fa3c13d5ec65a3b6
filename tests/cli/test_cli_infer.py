"""``fastdiff infer``: what is written, shown and recorded."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from fastdiffusers.png import read_record


def test_draws_a_picture_and_says_how(fastdiff, tiny, tmp_path):
    done = fastdiff("infer", "a red apple", "--model", tiny, "--steps", 3, "--out", "apple.png")
    assert done.exit_code == 0, done.stderr
    assert Image.open(tmp_path / "apple.png").size == (32, 32)
    for word in ("text", "denoise", "decode", "total", "apple.png", "3 steps", "no accelerator"):
        assert word in done.stdout
    assert list(tmp_path.glob("*")) == [tmp_path / "apple.png"]


def test_the_pixels_are_those_of_the_library(fastdiff, tiny, tmp_path):
    import fastdiffusers

    start = tmp_path / "start.png"
    Image.new("RGB", (32, 32), "green").save(start)
    words = ["infer", "a cat", "--model", tiny, "--steps", 2, "--seed", 7, "--n", 2]
    fastdiff(*words, "--negative", "a dog", "--true-cfg", 3, "--guidance", 2, "--size", "36x32")
    fastdiff(*words, "--image", start, "--strength", 0.5, "--out", "from.png")
    pipe = fastdiffusers.load(tiny)
    plain = {"negative_prompt": "a dog", "true_cfg_scale": 3.0, "guidance_scale": 2.0, "width": 36, "height": 32}
    for name, arguments in (("fastdiff", plain), ("from", {"image": start, "strength": 0.5})):
        for i in (1, 2):
            wanted = pipe("a cat", num_inference_steps=2, seed=6 + i, **arguments).images[0]
            assert Image.open(tmp_path / f"{name}-{i}.png").tobytes() == wanted.tobytes()


def test_bare_infer_draws_a_prompt_of_the_model(fastdiff, tiny, tmp_path):
    done = fastdiff("infer", "--model", tiny, "--steps", 1)
    assert done.exit_code == 0 and "'a red apple'" in done.stdout
    assert (tmp_path / "fastdiff.png").is_file()


def test_json_has_the_promised_keys_and_nothing_beside(fastdiff, tiny, nap_plugin):
    more = ["--accel", "nap:depth=3", "--size", "40x32", "--json"]
    done = fastdiff("infer", "a cat", "--model", tiny, "--steps", 2, *more)
    shown = json.loads(done.stdout)
    assert {"name", "family", "sha256", "dtype"} <= set(shown["model"])
    settings = shown["settings"]
    assert (settings["steps"], settings["guidance"], settings["height"], settings["width"]) == (2, 3.5, 32, 40)
    assert [(i["path"], i["prompt"], i["seed"]) for i in shown["images"]] == [("fastdiff.png", "a cat", 0)]
    assert set(shown["stages"]) == {"text", "denoise", "decode", "total"}
    (record,) = shown["accelerators"]
    assert {"name", "options", "requested", "engaged", "source", "reason", "effect"} <= set(record)
    assert (record["name"], record["options"], record["engaged"]) == ("nap", {"depth": 3}, True)
    assert record["effect"] == "slept 1 times"
    assert done.stderr == ""


def test_an_accelerator_without_effect_is_shown_as_such(fastdiff, tiny, nap_plugin):
    done = fastdiff("infer", "--model", tiny, "--steps", 1, "--accel", "nap:depth=9")
    shown = " ".join(done.stdout.split())
    assert "engaged no" in shown and "NO EFFECT" in shown


def test_pictures_of_n_are_single_runs_with_seed_plus_i(fastdiff, tiny, tmp_path):
    many = ["infer", "a cat", "--model", tiny, "--steps", 2, "--seed", 5, "--n", 2, "--grid", "--out", "cat.png"]
    done = fastdiff(*many)
    assert done.exit_code == 0, done.stderr
    fastdiff("infer", "a cat", "--model", tiny, "--steps", 2, "--seed", 6, "--out", "single.png")
    assert (tmp_path / "cat-2.png").read_bytes() == (tmp_path / "single.png").read_bytes()
    assert (tmp_path / "cat-1.png").read_bytes() != (tmp_path / "cat-2.png").read_bytes()
    assert Image.open(tmp_path / "cat.png").size == (66, 32)
    assert sorted(path.name for path in tmp_path.glob("*.png")) == ["cat-1.png", "cat-2.png", "cat.png", "single.png"]


def test_prompts_from_a_file(fastdiff, tiny, tmp_path):
    (tmp_path / "list.txt").write_text("# pets\na cat\n\nzwei blaue Häuser\n", encoding="utf-8")
    done = fastdiff("infer", "--prompts", "list.txt", "--model", tiny, "--steps", 1, "--n", 2, "--json")
    images = json.loads(done.stdout)["images"]
    assert [(i["prompt"], i["seed"]) for i in images] == [
        ("a cat", 0), ("a cat", 1), ("zwei blaue Häuser", 2), ("zwei blaue Häuser", 3),
    ]  # fmt: skip
    assert read_record(tmp_path / "fastdiff-3.png")["prompt"] == "zwei blaue Häuser"


def test_prompts_get_the_pictures_that_one_call_with_all_of_them_gives(fastdiff, tiny, tmp_path):
    import fastdiffusers

    (tmp_path / "list.txt").write_text("a cat\na dog\n")
    fastdiff("infer", "--prompts", "list.txt", "--model", tiny, "--steps", 1, "--n", 2, "--seed", 5)
    pipe = fastdiffusers.load(tiny)
    together = pipe(["a cat", "a dog"], num_inference_steps=1, seed=5, num_images_per_prompt=2)
    for i, wanted in enumerate(together.images):
        assert read_record(tmp_path / f"fastdiff-{i + 1}.png")["seed"] == together.seeds[i]
        drawn = np.asarray(Image.open(tmp_path / f"fastdiff-{i + 1}.png"), float)
        assert abs(drawn - np.asarray(wanted, float)).max() <= 1  # a batch may round otherwise


def test_an_empty_prompt_is_valid(fastdiff, tiny, tmp_path):
    assert fastdiff("infer", "", "--model", tiny, "--steps", 1).exit_code == 0
    assert read_record(tmp_path / "fastdiff.png")["prompt"] == ""


def test_a_prompt_that_is_too_long_is_cut_and_said_so(fastdiff, tiny):
    done = fastdiff("infer", "a red apple and " * 20, "--model", tiny, "--steps", 1)
    assert done.exit_code == 0
    lines = done.stderr.splitlines()
    assert all(line.startswith("note: prompt 'a red apple") and "was cut off" in line for line in lines)
    assert [name for line in lines for name in ("T5 reads 16 tokens", "CLIP reads 77 tokens") if name in line] == [
        "T5 reads 16 tokens", "CLIP reads 77 tokens",
    ]  # fmt: skip


def test_whatever_the_pipeline_cut_off_is_noted_once_negative_prompts_and_clip_included(fastdiff, tiny, monkeypatch):
    import dataclasses

    from fastdiffusers.pipelines.flux import FluxPipeline

    drawn = FluxPipeline.__call__
    monkeypatch.setattr(
        FluxPipeline, "__call__", lambda *a, **k: dataclasses.replace(drawn(*a, **k), notes=("CLIP left out 'x'",))
    )
    words = ["infer", "a cat", "--negative", "dog " * 40, "--true-cfg", 2, "--model", tiny, "--steps", 1, "--n", 2]
    assert fastdiff(*words).stderr == "note: CLIP left out 'x'\n"
    monkeypatch.undo()
    notes = json.loads(fastdiff(*words, "--json").stdout)["notes"]
    assert notes and all("'dog dog" in note for note in notes)


def test_the_record_says_everything_that_decides_the_picture(fastdiff, tiny, tmp_path, nap_plugin):
    fastdiff("infer", "a cat", "--negative", "a dog", "--true-cfg", 2, "--model", tiny, "--steps", 2, "--seed", 3,
             "--guidance", 2.5, "--size", "32x40", "--accel", "nap")  # fmt: skip
    record = read_record(tmp_path / "fastdiff.png")
    assert record["model"]["name"] == "tiny" and record["model"]["dtype"] == "float32"
    wanted = {"prompt": "a cat", "negative_prompt": "a dog", "true_cfg_scale": 2.0, "seed": 3, "steps": 2,
              "guidance": 2.5, "height": 40, "width": 32, "strength": None, "image_sha256": None}  # fmt: skip
    assert {name: record[name] for name in wanted} == wanted
    assert record["accelerators"][0]["name"] == "nap" and record["accelerators"][0]["options"] == {"depth": 2}
    assert set(record["versions"]) == {"fastdiffusers", "paddle", "pillow"} and record["threads"] >= 1


def test_image_to_image(fastdiff, tiny, tmp_path):
    Image.new("RGB", (50, 50), "red").save(tmp_path / "red.jpg")
    done = fastdiff("infer", "a cat", "--image", "red.jpg", "--strength", 0.5, "--steps", 4, "--model", tiny, "--json")
    assert json.loads(done.stdout)["settings"]["strength"] == 0.5
    assert len(read_record(tmp_path / "fastdiff.png")["image_sha256"]) == 64


def test_a_plan_is_saved_and_read_again(fastdiff, tiny, tmp_path, nap_plugin):
    first = fastdiff("infer", "--model", tiny, "--steps", 2, "--accel", "nap:depth=4", "--save-plan", "plan.yaml")
    assert first.exit_code == 0, first.stderr
    done = fastdiff("infer", "--model", tiny, "--plan", "plan.yaml", "--out", "again.png", "--json")
    shown = json.loads(done.stdout)
    assert shown["settings"]["steps"] == 2 and shown["accelerators"][0]["options"] == {"depth": 4}
    assert (tmp_path / "again.png").read_bytes() == (tmp_path / "fastdiff.png").read_bytes()
    done = fastdiff("infer", "--model", tiny, "--plan", "plan.yaml", "--steps", 1, "--json")
    assert json.loads(done.stdout)["settings"]["steps"] == 1


def test_words_the_model_never_saw_are_named(tiny):
    import dataclasses

    from fastdiffusers.models.info import describe
    from fastdiffusers_cli.prompts import choose_prompts, unknown_words

    info = dataclasses.replace(describe(tiny), card={"words": ["a", "red", "apple"], "prompts": ["a red apple"]})
    assert unknown_words(["a Red apple"], info) is None
    said = unknown_words(["a red appel"], info)
    assert said is not None and "'appel'" in said and "apple" in said and "3 words" in said
    assert choose_prompts(None, None, info) == ["a red apple"]


@pytest.mark.parametrize("texts", [["one"], ["one", "two", "two"]])
def test_merge_names_every_different_effect(texts):
    from fastdiffusers.record import Record
    from fastdiffusers_cli.drawing import merge

    records = [Record("nap", {}, True, text == "two", "asked", "why", text) for text in texts]
    merged = merge(records)
    assert merged["reason"] == "why"
    if len(texts) == 1:
        assert merged["effect"] == "one"
    else:
        assert merged["engaged"] is False
        assert merged["effect"] == "one (1 of 3 pictures); two (2 of 3 pictures)"
