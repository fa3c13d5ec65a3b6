import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest
from fake_accelerators import predict, spec
from fake_pipe import SETTING, FakeInfo

from fastdiffusers.accelerator import Kind, Prediction
from fastdiffusers.errors import InputError, PlanError
from fastdiffusers.plan import Plan, Request, make_plan, parse, requests_from_dict, setting_from_dict
from fastdiffusers.plugins import PluginRecord, Registry

INFO = FakeInfo()


def registry(*specs):
    found = Registry()
    found.accelerators.update({one.name: one for one in specs})
    return found


def plan(text, *specs, info=INFO, setting=SETTING):
    return make_plan(parse(text), registry(*specs), info, setting)


def test_a_plan_that_stands():
    cache = spec(name="cache", predict=predict)
    weights = spec(name="weights", kind=Kind.DISTILL, claims=frozenset({"weights"}))
    found = plan("cache:every=3,weights", cache, weights)
    found.check()
    assert [item.spec.name for item in found.items] == ["weights", "cache"]
    item = found.items[1]
    assert item.prediction == Prediction(True, "every=3", "skips 5")
    assert (item.options, item.given, item.source) == ({"every": 3}, frozenset({"every"}), "asked")
    assert found.items[0].prediction.engages and found.items[0].given == frozenset()
    assert (found.model, found.sha256, found.setting) == ("fake", "0" * 64, SETTING)


def test_an_empty_plan_stands():
    found = plan("none")
    found.check()
    assert found.items == () and found.refusals == ()


def test_two_that_claim_the_same_are_refused_by_the_claim():
    found = plan("one,two,three", spec(name="one"), spec(name="two"), spec(name="three", claims=frozenset({"steps"})))
    assert [item.spec.name for item in found.items] == ["one", "three"]
    assert [refusal.name for refusal in found.refusals] == ["two"]
    with pytest.raises(PlanError) as caught:
        found.check()
    assert str(caught.value) == (
        "two is refused: both one and two claim 'blocks', which only one can have; use one of them"
    )


@pytest.mark.parametrize("side", ["one", "two"])
@pytest.mark.parametrize("word", ["few-steps", "graph", "compile"])
def test_conflicts_are_by_claim_tag_or_kind_and_work_both_ways(side, word):
    one = spec(name="one", claims=frozenset(), conflicts=frozenset({word}))
    two = spec(name="two", kind=Kind.COMPILE, claims=frozenset({"graph"}), tags=frozenset({"few-steps"}))
    found = plan("one,two" if side == "one" else "two,one", one, two)
    assert [refusal.name for refusal in found.refusals] == ["two" if side == "one" else "one"]
    assert f"one does not go together with '{word}'" in found.refusals[0].reason


def test_a_refusal_names_what_refused_it():
    def no(config, info, setting):
        raise InputError("not today")

    specs = [
        spec(name="one", tags=frozenset({"t"})),
        spec(name="two"),
        spec(name="three", claims=frozenset(), conflicts=frozenset({"t"})),
        spec(name="four", claims=frozenset(), requires=frozenset({"unet"})),
        spec(name="five", claims=frozenset(), predict=no),
    ]
    found = plan("one,two,three,four,five", *specs)
    assert {refusal.name: refusal.cause for refusal in found.refusals} == {
        "two": "claim blocks",
        "three": "conflict t",
        "four": "requires unet",
        "five": "prediction",
    }


def test_names_are_no_ground_for_refusal():
    one = spec(name="one", claims=frozenset(), conflicts=frozenset({"two"}))
    assert plan("one,two", one, spec(name="two")).refusals == ()


def test_a_missing_feature_is_refused_with_what_there_is():
    found = plan("interval", spec(requires=frozenset({"unet"})))
    assert (
        found.refusals[0].reason == "it needs 'unet', which fake does not offer (it offers: blocks, img2img, true_cfg)"
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("intervall", "unknown accelerator 'intervall' (did you mean 'interval'?); installed: interval"),
        ("interval:evry=2", "interval has no option `evry` (did you mean 'every'?); it has: every"),
        ("interval:every=0", "interval: every must be an integer ≥ 1, got '0'"),
    ],
)
def test_words_that_mean_nothing_are_errors(text, words):
    with pytest.raises(PlanError) as caught:
        plan(text, spec())
    assert str(caught.value) == words


def test_an_unknown_name_points_at_plugins_that_did_not_load():
    plugins = registry()
    plugins.plugins.append(PluginRecord("caching", status="broken", reason="x"))
    with pytest.raises(PlanError, match="not loaded: caching"):
        make_plan([Request("teacache")], plugins, INFO, SETTING)


def test_the_same_name_twice_is_an_error_for_requests_as_well():
    with pytest.raises(PlanError, match="named twice"):
        make_plan([Request("interval"), Request("interval")], registry(spec()), INFO, SETTING)
    with pytest.raises(PlanError, match="'none' means no accelerator"):
        make_plan([Request("none")], registry(spec()), INFO, SETTING)


def test_a_circle_of_wishes_is_an_error():
    a = spec(name="a", claims=frozenset(), before=frozenset({"b"}))
    b = spec(name="b", claims=frozenset(), before=frozenset({"a"}))
    with pytest.raises(PlanError, match="no order satisfies all of"):
        plan("a,b", a, b)


def refuse(config, info, setting):
    raise InputError("only for 8 steps and more")


def fail(config, info, setting):
    return 1 // 0


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (refuse, "only for 8 steps and more"),
        (fail, "its prediction failed: ZeroDivisionError: integer division or modulo by zero"),
        (lambda *_: True, "its predict returned bool instead of a Prediction"),
    ],
)
def test_a_prediction_can_refuse(function, words):
    found = plan("interval", spec(predict=function))
    assert found.items == () and found.refusals[0].reason == words


def test_outer_accelerators_see_the_setting_that_inner_ones_leave():
    def few(config, info, setting):
        return Prediction(True, "trained for it", setting=replace(setting, steps=4))

    weights = spec(name="weights", kind=Kind.DISTILL, claims=frozenset(), predict=few)
    found = plan("interval,weights", spec(predict=predict), weights)
    assert found.items[1].prediction.effect == "skips 2" and found.setting == SETTING


def test_dict_and_back():
    plugins = registry(spec(predict=predict), spec(name="other"))
    found = make_plan([Request("interval", {"every": "3"}), Request("other", {}, "automatic")], plugins, INFO, SETTING)
    data = json.loads(json.dumps(found.to_dict()))
    assert data["accelerators"][0]["options"] == {"every": 3} and data["refusals"][0]["name"] == "other"
    again = Plan.from_dict(data, plugins, INFO)
    assert again.items[0].config == found.items[0].config and again.setting == SETTING
    with pytest.raises(PlanError, match=r"made for model 'fake' \(sha256 000000000000…\), this is 'b'"):
        Plan.from_dict(data, plugins, replace(INFO, name="b", sha256="1" * 64))


def test_plans_by_hand():
    assert requests_from_dict({"accelerators": "a:x=1,b"}) == parse("a:x=1,b")
    assert requests_from_dict({"accelerators": ["a:x=1", {"name": "b", "options": {"y": 0.5}}]}) == [
        Request("a", {"x": "1"}),
        Request("b", {"y": 0.5}),
    ]
    assert requests_from_dict({"accelerators": None}) == []
    assert setting_from_dict({}) is None


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ([], "not a plan"),
        ({}, "the key 'accelerators'"),
        ({"accelerators": 3}, "must be a list, got int"),
        ({"accelerators": [3]}, "words or a mapping"),
        ({"accelerators": [{"options": {}}]}, "words or a mapping"),
        ({"accelerators": [{"name": "a", "options": 3}]}, "'options' in a plan must be a mapping"),
        ({"accelerators": [{"name": "a", "source": "x"}]}, "unknown source 'x'"),
        ({"accelerators": [], "fastdiff_plan": 9}, "format 9 cannot be read; valid: 1"),
    ],
)
def test_data_that_is_no_plan(data, words):
    with pytest.raises(PlanError) as caught:
        requests_from_dict(data)
    assert words in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        (3, "must be a mapping"),
        ({"stepps": 3}, "must be a mapping of steps"),
        ({"steps": 3}, "lacks guidance, height, width"),
        ({"steps": "many"}, "steps must be an integer, got 'many'"),
        ({"steps": 2.5}, "steps must be an integer, got 2.5"),
        ({"guidance": True}, "guidance must be a number, got True"),
    ],
)
def test_settings_that_are_none(setting, words):
    with pytest.raises(PlanError, match=words):
        setting_from_dict({"setting": setting})


def test_planning_imports_no_paddle():
    code = """
import sys
sys.path.insert(0, "tests")
from fake_accelerators import spec, predict
from fake_pipe import FakeInfo, SETTING
from fastdiffusers.plugins import registry
from fastdiffusers.plan import make_plan, parse
registry().accelerators["interval"] = spec(predict=predict)
plan = make_plan(parse("interval"), registry(), FakeInfo(), SETTING)
plan.check()
assert plan.to_dict()["accelerators"]
print([name for name in ("paddle", "yaml", "typer", "PIL") if name in sys.modules])
"""
    path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
    env = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stderr
