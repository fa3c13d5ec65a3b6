"""The report of what the embedded model fulfils."""

import json

from accept import PARTS, former
from accept_table import markdown

ABOUT = {"model": {"sha256": "a" * 64}, "scorer": {"sha256": "b" * 64}, "guidance_scale": 3.5, "size": 96}
GROUND = {"n": 10, "obeyed": 0.9, "instead": {"red -> pink": 1}}
FULL = {
    **ABOUT,
    "blind": {"right": 60, "of": 64},
    "vae": {"white": {"psnr": 30.5}, "colour": {"psnr": 28.9}},
    "retrieval": {"model": 0.8, "data": 0.9, "ratio": 0.889, "n": 500, "clip": 0.4, "clip_data": 0.5},
    "grounds": {"seen": {**GROUND, "obeyed": 1.0, "instead": {}}, "never_seen": GROUND, "white": GROUND},
    "diversity": {"model": 0.2, "data": 0.25, "ratio": 0.8, "prompts": 32},
    "guidance": [{"guidance": 1.0, "clip": 0.3}],
    "image_to_image": [{"strength": 0.3, "psnr_to_source": 20.0}],
    "true_guidance": [{"true_cfg_scale": 2.0, "clip": 0.3}],
    "held_out_concepts": {"concepts": 13, "model": 0.1, "data": 0.5},
}


def test_every_part_is_in_the_report_and_limits_are_judged():
    assert set(PARTS) == set(FULL) - set(ABOUT)
    text = markdown(FULL)
    assert "of 64 | 60 | 56 | yes |" in text and "coloured grounds, dB | 28.90 | 29 | NO |" in text
    assert "never seen | 0.900 | 0.95 | NO |" in text and "- never seen: red -> pink 1" in text
    for words in (
        "0.800, real renderings 0.900",
        "| guidance | clip |",
        "strength",
        "true cfg scale",
        "13, never trained",
    ):
        assert words in text


def test_what_was_not_measured_is_said():
    assert markdown(ABOUT).count("not measured") == 8


def test_parts_of_another_model_or_scorer_are_not_kept(tmp_path):
    path = tmp_path / "embedded.json"
    assert former(path, "a" * 64, "b" * 64) == {}
    path.write_text(json.dumps(FULL))
    assert former(path, "a" * 64, "b" * 64) == {name: FULL[name] for name in PARTS}
    assert former(path, "c" * 64, "b" * 64) == former(path, "a" * 64, "c" * 64) == {}
    path.write_text("{")
    assert former(path, "a" * 64, "b" * 64) == {}
