"""Captions for the teacher: from a file, or those of its own training."""

from collections import Counter
from types import SimpleNamespace

import pytest

from fastdiffusers.distillation.data import DataOptions, source
from fastdiffusers.errors import InputError
from fastdiffusers.models.info import describe
from fastdiffusers.zoo.emoji.captions import PALETTE, held_out_pair
from fastdiffusers.zoo.emoji.concepts import split_of
from fastdiffusers.zoo.emoji.trained import trained_index


def captions(**options):
    info = options.pop("info", None)
    return [sample.caption for sample in source(DataOptions(**options), info)]


def test_a_file_of_prompts_is_repeated_or_cut_to_the_examples(tmp_path):
    path = tmp_path / "prompts.txt"
    path.write_text("a cat\n\n# a remark\n a dog \nan owl\n", encoding="utf-8")
    for where in ({"prompts": str(path)}, {"data": str(path)}, {"data": str(path), "data_kind": "prompts"}):
        assert captions(**where) == ["a cat", "a dog", "an owl"]
        assert captions(**where, examples=5) == ["a cat", "a dog", "an owl", "a cat", "a dog"]
        assert captions(**where, examples=1) == ["a cat"]
    assert [sample.key for sample in source(DataOptions(prompts=str(path)))][1] == "prompts.txt:4"


def test_every_prompt_has_as_many_examples_in_a_row_as_asked_for(tmp_path):
    path = tmp_path / "prompts.txt"
    path.write_text("a cat\na dog\n", encoding="utf-8")
    each = {"prompts": str(path), "seeds_per_prompt": 2}
    assert captions(**each) == ["a cat", "a cat", "a dog", "a dog"]
    assert captions(**each, examples=6) == ["a cat", "a cat", "a dog", "a dog", "a cat", "a cat"]
    assert [sample.key[-2:] for sample in source(DataOptions(**each))] == [":1", ":1", ":2", ":2"]
    info = describe("flux-emoji")
    single, own = captions(info=info, examples=500), captions(info=info, examples=2000, seeds_per_prompt=4)
    assert own == [caption for caption in single for _ in range(4)]


def test_the_embedded_models_captions_need_no_file():
    info = describe("flux-emoji")
    drawn = captions(info=info, examples=3000)
    assert drawn == captions(info=info, examples=3000) and drawn != captions(info=info, examples=3000, seed=1)
    assert len(captions(info=info)) == 4096
    # as in training: half of the pictures on a colour, half of these said; a third of the white ones said
    on_a_colour = sum(any(f" on a {name} " in text or f" on an {name} " in text for name in PALETTE) for text in drawn)
    assert on_a_colour / len(drawn) == pytest.approx(0.25, abs=0.03)
    assert sum("on a white background" in text for text in drawn) / len(drawn) == pytest.approx(0.15, abs=0.025)
    assert sum(text.count(" style") for text in drawn) / len(drawn) == pytest.approx(0.3, abs=0.03)


def test_nothing_that_was_held_out_is_drawn():
    entries = trained_index().entries
    assert len({entry["hexcode"] for entry in entries}) == 350 == len(describe("flux-emoji").card["concepts"])
    assert all(split_of(entry["hexcode"], entry["label"]) == "train" for entry in entries)
    pairs = {
        f"{entry['label']} on a{'n' if colour == 'orange' else ''} {colour} background"
        for entry in entries
        for colour in PALETTE
        if held_out_pair(entry["hexcode"], colour)
    }
    drawn = Counter(captions(info=describe("flux-emoji"), examples=5000))
    assert not pairs & set(drawn) and not {f"a {pair}" for pair in pairs} & set(drawn)


def model(**card):
    return SimpleNamespace(name="mine", card=card)


def test_other_models_bring_prompts_or_none():
    assert captions(info=model(prompts=["x", "y"])) == ["x", "y"]
    with pytest.raises(InputError, match="model 'mine' brings no captions; name a file of prompts"):
        source(DataOptions(), model())
    with pytest.raises(InputError, match=r"concept 'unheard of' is not in trained\.txt"):
        source(DataOptions(), model(concepts=["rocket", "unheard of"]))
    assert all(
        "rocket" in text for text in captions(info=model(concepts=["rocket"]), examples=20) if "space" not in text
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "no prompts are given; name a file of prompts"),
        ({"prompts": "nowhere.txt"}, "cannot read prompts 'nowhere.txt': No such file"),
        ({"data": "nowhere"}, "data 'nowhere' does not exist; valid: 'teacher', a folder, or a file"),
        ({"data": "nowhere", "data_kind": "csv"}, "data 'nowhere' does not exist"),
        ({"data": ".", "prompts": "p.txt"}, "prompts 'p.txt' are for data=teacher; this is data=. read as"),
        (
            {"data": ".", "trajectories": True},
            "trajectories are of latents that the teacher draws; data_kind is 'folder'",
        ),
        ({"data": ".", "seeds_per_prompt": 4}, "seeds_per_prompt 4 is for latents that the teacher draws; data_"),
        ({"data": ".", "data_kind": "laion"}, r"is a folder of shards; name the list of them too \(file_list=FILE\)"),
        ({"data": ".", "data_kind": "folder", "file_list": "f"}, "file_list 'f' is for shards; data_kind is 'folder'"),
        ({"data": __file__, "file_list": "f"}, "is no folder; with file_list it is the root of the shards"),
        ({"data": __file__, "data_kind": "folder"}, "is no folder"),
        (
            {"data": __file__, "data_kind": "prompts", "min_side": 9},
            "min_side is 9; pictures drawn by the teacher are not",
        ),
    ],
)
def test_what_does_not_go_together_is_one_line(options, message):
    with pytest.raises(InputError, match=message) as caught:
        source(DataOptions(**options))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"data_kind": "zip"}, "unknown data_kind 'zip'; valid: auto, csv, folder, laion, prompts, teacher"),
        ({"seeds_per_prompt": 0}, "seeds_per_prompt is 0; it must be at least 1"),
        ({"examples": 0}, "examples is 0; it must be at least 1"),
        ({"max_watermark": 1.5}, "max_watermark is 1.5; valid are 0 to 1"),
        ({"guidance_min": 4.0}, "guidance_min is 4 and guidance_max 3.5"),
        ({"state_sigmas": (1.0, 0.5)}, r"state_sigmas \[1.0, 0.5\] must fall from 1 to 0"),
        ({"state_sigmas": (1.0, 0.5, 0.5, 0.0)}, "must fall from 1 to 0"),
    ],
)
def test_options_that_cannot_be_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        DataOptions(**options)


def test_options_are_taken_from_a_recipe():
    recipe = SimpleNamespace(data="x", min_side=7, steps=100)
    assert DataOptions.of(recipe) == DataOptions(data="x", min_side=7)


def test_an_empty_file_holds_no_prompt(tmp_path):
    (tmp_path / "p.txt").write_text("\n# nothing\n")
    with pytest.raises(InputError, match="holds no prompt"):
        source(DataOptions(prompts=str(tmp_path / "p.txt")))
