"""profile=auto and defaults on a quantised model: for every accelerator that declares a tunable option."""

import dataclasses
import json

import pytest
from fake_knobs import SETTING, Info, registry
from fake_pipe import FakePipe

from fastdiffusers.errors import InputError, PlanError, PluginError
from fastdiffusers.plan import make_plan, parse
from fastdiffusers.profiles import Profile, find_profile, forget_profile, keep_profile, profiles_file, read_profiles
from fastdiffusers.record import expected_record
from fastdiffusers.session import accelerate, dtype_of
from fastdiffusers.tuning import subject_of

INFO = Info()


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("FASTDIFFUSERS_HOME", str(tmp_path))


def keep(words, value, setting=SETTING, dtype="float32", info=INFO, guidance=3.5):
    key = subject_of(words, registry(), info, setting, dtype).key
    measured = {"distance": 0.09876, "speedup": 1.934, "guidance": guidance}
    return keep_profile(info, Profile(key, value, {"max_distance": 0.1}, measured, {"date": "2031-05-06"}))


def plan(words, setting=SETTING, dtype="float32", info=INFO):
    return make_plan(parse(words), registry(), info, setting, dtype)


def refusal(words, **more):
    with pytest.raises(PlanError) as error:
        plan(words, **more).check()
    return str(error.value)


def test_a_profile_sets_the_option_and_the_plan_says_so():
    file = keep("knob", 0.42)
    assert (
        file == profiles_file(INFO) and file.parent.name == "profiles" and json.loads(file.read_text())["format"] == 1
    )
    (item,) = plan("knob:profile=auto").items
    assert item.config.threshold == 0.42 and item.options == {"threshold": 0.42, "first": 1, "force": False}
    note = "threshold=0.42 is from the profile tuned on 2031-05-06 for max distance 0.1: distance 0.0988, 1.93×"
    assert item.notes == (note,) and item.given == {"profile"}
    assert expected_record(item).notes == (note,) and item.to_dict()["notes"] == [note]
    # a plan that was written holds the value, and needs no profile any more
    file.unlink()
    from fastdiffusers.plan import requests_from_dict

    again = make_plan(requests_from_dict(plan("knob:threshold=0.42").to_dict()), registry(), INFO, SETTING)
    assert again.items[0].config == item.config
    keep("budget", 12)
    assert plan("budget:profile=auto").items[0].config.computed == 12


def test_a_profile_is_for_exactly_one_setting():
    keep("knob", 0.42)
    keep("knob:first=2", 0.5)
    keep("knob", 0.6, dataclasses.replace(SETTING, steps=30))
    keep("knob", 0.7, dataclasses.replace(SETTING, height=64, width=48))
    keep("knob", 0.8, dtype="bfloat16")
    keep("fp8,knob", 0.9)
    keep("knob", 0.1, info=Info(sha256="cd" * 32))
    for words, more, value in (
        ("knob:profile=auto", {}, 0.42),
        ("knob:first=1:profile=auto", {}, 0.42),  # the default, said aloud
        ("knob:profile=auto:first=2", {}, 0.5),
        ("knob:profile=auto", {"setting": dataclasses.replace(SETTING, steps=30)}, 0.6),
        ("knob:profile=auto", {"setting": dataclasses.replace(SETTING, height=64, width=48)}, 0.7),
        ("knob:profile=auto", {"dtype": "bfloat16"}, 0.8),
        ("fp8,knob:profile=auto", {}, 0.9),
        ("knob:profile=auto,fp8", {}, 0.9),
        ("knob:profile=auto", {"info": Info(sha256="cd" * 32)}, 0.1),
    ):
        made = plan(words, **more)
        made.check()
        assert next(item for item in made.items if item.spec.name == "knob").config.threshold == value, words
    # guidance is no part of the key, but is told
    (item,) = plan("knob:profile=auto", setting=dataclasses.replace(SETTING, guidance=1.0)).items
    assert item.config.threshold == 0.42 and item.notes[0].endswith("; it was tuned at guidance 3.5")

    assert refusal("knob:profile=auto:first=3", setting=dataclasses.replace(SETTING, steps=40), dtype="float16") == (
        "knob is refused: there is no profile of knob on fake for 40 steps at 32x16 in float16, first=3; there are: 20 "
        "steps at 32x16 in float32; 20 steps at 32x16 in float32, first=2; 30 steps at 32x16 in float32; 20 steps at "
        "48x64 in float32; 20 steps at 32x16 in bfloat16; 20 steps at 32x16 in float32, beside fp8; run `fastdiff tune "
        "--accel knob:first=3 --model /models/fake --steps 40 --dtype float16 --max-distance 0.1` (or another target) "
        "once"
    )
    assert "there are: (none); run `fastdiff tune --accel budget " in refusal("budget:profile=auto")
    for change in ({"strength": 0.5}, {"true_cfg_scale": 2.0}):
        text = refusal("knob:profile=auto", setting=dataclasses.replace(SETTING, **change))
        assert "text-to-image without true guidance; give threshold=… in place of profile=auto" in text


def test_a_session_takes_the_profile_for_what_its_pipeline_computes_in():
    pipe = FakePipe(features=INFO.features)
    for dtype, value in (("float32", 0.42), ("bfloat16", 0.43)):
        setting = pipe.info.default_setting
        key = subject_of("knob", registry(), pipe.info, setting, dtype).key
        keep_profile(pipe.info, Profile(key, value, {"max_distance": 0.1}))
    for dtype, value in (("float32", 0.42), ("paddle.bfloat16", 0.43)):
        pipe.dtype = dtype
        with pytest.raises(PluginError, match="cannot load"):  # the knobs are specifications only
            accelerate(pipe, "knob:profile=auto", plugins=registry())
        plan = make_plan(parse("knob:profile=auto"), registry(), pipe.info, pipe.info.default_setting, dtype_of(pipe))
        assert plan.items[0].config.threshold == value
    pipe.dtype = "paddle.float16"
    with pytest.raises(PlanError, match="no profile of knob on fake for 10 steps at 16x16 in float16"):
        accelerate(pipe, "knob:profile=auto", plugins=registry())


def test_a_newer_profile_takes_the_place_of_the_older_and_can_be_forgotten():
    keep("knob", 0.42)
    keep("knob:first=2", 0.5)
    keep("knob", 0.43)
    assert [one.value for one in read_profiles(INFO)] == [0.5, 0.43]
    key = subject_of("knob", registry(), INFO, SETTING).key
    assert forget_profile(INFO, key).value == 0.43 and forget_profile(INFO, key) is None
    assert find_profile(INFO, key) is None and [one.value for one in read_profiles(INFO)] == [0.5]


@pytest.mark.parametrize(
    "change",
    [{"format": 9}, {"model_sha256": "0"}, {"profiles": [{}]}, {"profiles": [{"accelerator": "knob"}]}, "nonsense", []],
)
def test_a_file_that_cannot_be_used_is_named(change):
    file = keep("knob", 0.42)
    content = {**json.loads(file.read_text()), **change} if isinstance(change, dict) else change
    file.write_text(json.dumps(content))
    with pytest.raises(
        PlanError, match=r"the profiles in .*abababababababab\.json' cannot be read .*; remove the file"
    ):
        plan("knob:profile=auto")


def test_what_is_wrong_in_itself():
    have = "these have one: budget, either, knob"
    assert refusal("knob:profile=best") == "knob: profile must be auto, got 'best'"
    assert refusal("knob:profile=auto:threshold=0.2") == (
        "knob: profile=auto chooses threshold; leave threshold=0.2 out"
    )
    assert refusal("fixed:profile=auto") == f"fixed has no option that can be tuned, which profile=auto needs; {have}"
    assert refusal("either:indicator=mask:profile=auto").startswith("either:indicator=mask has no option that can be")
    assert refusal("knob:profile=auto,budget:profile=auto") == (
        "knob and budget both have profile=auto; tune one of them at a time"
    )
    assert refusal("knob:profile=auto:first=x") == "knob: first must be an integer, got 'x'"


def test_the_first_tunable_option_that_the_others_leave_a_meaning_is_tuned():
    for words, option in (("either", "threshold"), ("either:indicator=interval", "interval")):
        subject = subject_of(words, registry(), INFO, SETTING)
        assert subject.option.name == option and "indicator" in subject.key.fixed
    assert subject_of("either", registry(), INFO, SETTING).start == 0.1  # no default: the middle
    assert subject_of("knob,budget:computed=5", registry(), INFO, SETTING).option.name == "threshold"
    for words, message in (
        ("knob,budget", "knob and budget could be tuned, which is done one at a time; give the others' options values"),
        ("knob:threshold=0.3", "knob: tune chooses threshold; leave threshold=0.3 out"),
        ("knob:profile=auto", "knob: profile=… takes what was tuned; leave it out to tune"),
        ("fixed", "fixed has no option that can be tuned, which tune needs; these have one: budget, either, knob"),
        ("nob", "unknown accelerator 'nob' (did you mean 'knob'?); installed: budget, either, fixed, fp8, knob"),
        ("none", "'none' has nothing to tune; these have: budget, either, knob"),
    ):
        with pytest.raises((PlanError, InputError)) as error:
            subject_of(words, registry(), INFO, SETTING)
        assert str(error.value) == message
    with pytest.raises(PlanError, match="knob needs 8 steps"):
        subject_of("knob", registry(), INFO, dataclasses.replace(SETTING, steps=4))


def test_the_default_threshold_is_raised_on_a_quantised_model():
    for words in ("fp8,knob", "knob,fp8"):
        item = next(item for item in plan(words).items if item.spec.name == "knob")
        assert item.config.threshold == 0.15
        assert item.notes == (
            "threshold is 1.5 times its default 0.1 because fp8 quantises the model; a value that you give is kept",
        )
        assert expected_record(item).notes == item.notes and item.options["threshold"] == 0.15
    assert plan("knob").items[0].config.threshold == 0.1 and plan("knob").items[0].notes == ()
    kept = next(item for item in plan("fp8,knob:threshold=0.1").items if item.spec.name == "knob")
    assert kept.config.threshold == 0.1 and kept.notes == ()
    # an option without a factor, or without a default, stays
    assert [item.notes for item in plan("fp8,budget,either").items] == [(), (), ()]
    # the quantised default is not raised on top of what was tuned beside the quantiser
    keep("fp8,knob", 0.9)
    tuned = next(item for item in plan("fp8,knob:profile=auto").items if item.spec.name == "knob")
    assert tuned.config.threshold == 0.9 and "from the profile" in tuned.notes[0] and len(tuned.notes) == 1
