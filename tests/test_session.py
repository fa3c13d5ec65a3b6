import gc
import json
import weakref
from dataclasses import replace

import numpy as np
import pytest
from fake_accelerators import (
    FailsToDetach,
    Interval,
    NoEffect,
    NotJson,
    RaisesAfterPatching,
    Tagged,
    predict,
    spec,
)
from fake_pipe import SETTING, FakePipe

from fastdiffusers.errors import InputError, PlanError, PluginError
from fastdiffusers.plan import make_plan, parse
from fastdiffusers.plugins import Registry
from fastdiffusers.session import Session, accelerate


@pytest.fixture
def pipe():
    return FakePipe()


@pytest.fixture(autouse=True)
def log():
    Tagged.log.clear()
    return Tagged.log


def registry(*specs):
    found = Registry()
    found.accelerators.update({one.name: one for one in specs})
    return found


PLUGINS = registry(
    spec(predict=predict),
    spec(NoEffect, "no-effect"),
    spec(RaisesAfterPatching, "raises"),
    spec(FailsToDetach, "sticks", claims=frozenset()),
    spec(NotJson, "not-json"),
    *(spec(Tagged, name, claims=frozenset()) for name in ("one", "two", "three")),
)


def draw(pipe, **options):
    return pipe("a red apple", seed=1, **options).latents


def test_attach_draw_report_detach(pipe):
    plain, before = draw(pipe), list(vars(pipe.transformer).items())
    with accelerate(pipe, "interval:every=2", plugins=PLUGINS, steps=10) as session:
        (expected,) = session.report()
        prediction = session.plan.items[0].prediction
        assert (expected.engaged, expected.reason) == (prediction.engages, prediction.reason)
        assert (expected.effect, expected.measured) == ("expected: skips 5", False)
        moved = draw(pipe)
        (record,) = session.report()
    assert record.to_dict() == {
        "name": "interval",
        "options": {"every": 2},
        "requested": True,
        "engaged": True,
        "source": "asked",
        "reason": "every=2",
        "effect": "skipped 5 of 10",
        "stats": {"skipped": 5, "calls": 10},
        "fidelity": "lossy",
        "measured": True,
        "notes": (),
    }
    json.dumps(record.to_dict())
    assert session.report() == [record]
    assert np.abs(moved - plain).max() > 1e-3
    assert list(vars(pipe.transformer).items()) == before and (draw(pipe) == plain).all()


def test_without_effect_it_says_so_loudly(pipe):
    with accelerate(pipe, "no-effect", plugins=PLUGINS) as session:
        draw(pipe)
    (record,) = session.report()
    assert not record.engaged and record.reason == "NO EFFECT: skipped 0 of 0"


def test_the_report_follows_what_happened_not_what_was_expected(pipe):
    with accelerate(pipe, "interval:every=1", plugins=PLUGINS) as session:
        assert not session.report()[0].engaged
        draw(pipe)
        assert session.report()[0].reason == "NO EFFECT: skipped 0 of 10"
    with accelerate(pipe, "interval", plugins=PLUGINS, steps=1) as session:
        draw(pipe)
        record = session.report()[0]
    assert record.engaged and record.reason == "engaged although the plan expected otherwise (every=2)"


def test_an_account_that_fails_or_is_none_is_no_effect(pipe, monkeypatch):
    for effect in (lambda self: 1 // 0, lambda self: None):
        monkeypatch.setattr(Interval, "effect", effect)
        with accelerate(pipe, "interval", plugins=PLUGINS) as session:
            draw(pipe)
        (record,) = session.report()
        assert not record.engaged and record.reason.startswith("NO EFFECT KNOWN: its account failed: ")


def test_detaching_is_in_reverse_and_happens_once(pipe, log):
    session = accelerate(pipe, "one:label=a,two:label=b,three:label=c", plugins=PLUGINS)
    order = [item.config.label for item in session.plan.items]
    session.detach()
    session.detach()
    assert log == [f"+{label}" for label in order] + [f"-{label}" for label in reversed(order)]


def test_a_failed_attach_takes_the_earlier_ones_off_as_well(pipe, log):
    before = {name: list(vars(part).items()) for name, part in vars(pipe).items() if name != "info"}
    with pytest.raises(PluginError) as caught:
        accelerate(pipe, "one:label=a,three:label=b,two:fail=true:label=c", plugins=PLUGINS)
    assert str(caught.value) == "accelerator 'two' failed to attach: RuntimeError: told to fail"
    assert log == ["+a", "+b", "+c", "-c", "-b", "-a"]
    after = {name: list(vars(part).items()) for name, part in vars(pipe).items() if name != "info"}
    assert after == before and pipe.context.session is None
    with pytest.raises(PluginError, match="'raises' failed to attach: KeyError: 'no such block'"):
        accelerate(pipe, "raises", plugins=PLUGINS)
    accelerate(pipe, "interval", plugins=PLUGINS).detach()


def test_ctrl_c_in_attach_rolls_back_and_passes(pipe, monkeypatch):
    def press(self, pipe, recorder):
        recorder.patch(pipe.scheduler, "shift", 5.0)
        raise KeyboardInterrupt

    monkeypatch.setattr(Interval, "attach", press)
    with pytest.raises(KeyboardInterrupt):
        accelerate(pipe, "interval", plugins=PLUGINS)
    assert pipe.scheduler.shift == 1.0 and pipe.context.session is None


def test_a_user_error_in_attach_keeps_its_type_and_gets_the_name(pipe, monkeypatch):
    def refuse(self, pipe, recorder):
        recorder.patch(pipe.scheduler, "shift", 5.0)
        raise InputError("no calibration for this model")

    monkeypatch.setattr(Interval, "attach", refuse)
    with pytest.raises(InputError, match=r"^interval: no calibration for this model$"):
        accelerate(pipe, "interval", plugins=PLUGINS)
    assert pipe.scheduler.shift == 1.0 and pipe.context.session is None


def test_an_accelerator_that_cannot_be_loaded_is_named(pipe):
    plugins = registry(spec(target="fake_accelerators:Gone"))
    with pytest.raises(PluginError, match="accelerator 'interval': cannot load 'fake_accelerators:Gone'"):
        accelerate(pipe, "interval", plugins=plugins)


def test_one_failing_on_detach_does_not_keep_the_others_on(pipe, log):
    session = accelerate(pipe, "one:label=a,sticks,two:label=b", plugins=PLUGINS)
    with pytest.raises(PluginError, match=r"^while detaching, sticks: ZeroDivisionError"):
        session.detach()
    assert log[-2:] == ["-b", "-a"] or log[-2:] == ["-a", "-b"]
    assert not hasattr(pipe.scheduler, "mark_a") and pipe.context.session is None
    assert type(pipe.transformer.block_loop).__name__ == "FakeLoop"


def test_an_error_in_the_body_is_not_hidden_by_one_in_detach(pipe):
    with pytest.raises(KeyError) as caught, accelerate(pipe, "sticks", plugins=PLUGINS):
        raise KeyError("body")
    assert "while detaching, sticks" in caught.value.__notes__[0]


def test_one_session_at_a_time(pipe):
    with accelerate(pipe, "one:label=a", plugins=PLUGINS) as first:
        with pytest.raises(PlanError, match=r"already has a session attached \(one\)"):
            accelerate(pipe, "two:label=b", plugins=PLUGINS)
        with accelerate(pipe, "none", plugins=PLUGINS) as nothing:
            assert nothing.report() == [] and pipe.context.session is first
        assert pipe.context.session is first and pipe.scheduler.mark_a
    accelerate(pipe, "two:label=b", plugins=PLUGINS).detach()


def test_a_refusal_stops_before_anything_is_touched(pipe, log):
    with pytest.raises(PlanError, match="both interval and no-effect claim 'blocks'"):
        accelerate(pipe, "one,interval,no-effect", plugins=PLUGINS)
    assert log == []


def test_a_plan_for_another_model_is_refused(pipe):
    plan = make_plan(parse("interval"), PLUGINS, replace(pipe.info, name="b", sha256="1" * 64), SETTING)
    with pytest.raises(PlanError, match="the plan was made for model 'b'"):
        accelerate(pipe, plan)
    same = make_plan(parse("interval"), PLUGINS, replace(pipe.info, name="copy"), SETTING)
    accelerate(pipe, same).detach()


def test_settings_reach_the_prediction(pipe):
    with accelerate(pipe, "interval", plugins=PLUGINS, steps=30) as session:
        assert session.plan.items[0].prediction.effect == "skips 15" and session.plan.setting.height == SETTING.height
    with pytest.raises(InputError, match="unknown setting 'stepps'; valid: steps, guidance"):
        accelerate(pipe, "interval", plugins=PLUGINS, stepps=30)
    with pytest.raises(InputError, match="a Plan carries its setting; steps cannot be given"):
        accelerate(pipe, session.plan, steps=3)


def test_what_is_no_loaded_pipeline_is_refused(pipe):
    pipe.info = None
    for thing in (pipe, object(), None):
        with pytest.raises(InputError, match=r"attach to a pipeline from fastdiffusers\.load"):
            accelerate(thing, "interval", plugins=PLUGINS)


def test_attached_accelerators_can_be_had_by_name(pipe):
    with accelerate(pipe, "interval", plugins=PLUGINS) as session:
        assert isinstance(session.accelerator("interval"), Interval)
        with pytest.raises(InputError, match="no accelerator 'x' is attached; attached: interval"):
            session.accelerator("x")


def test_nothing_is_held_after_the_detach(pipe):
    session = Session(pipe, make_plan(parse("interval"), PLUGINS, pipe.info, SETTING))
    draw(pipe)
    alive = weakref.ref(session.accelerator("interval"))
    session.detach()
    gc.collect()
    assert alive() is None and pipe.context.listeners == 0


def test_an_interrupted_generation_leaves_nothing_to_the_next(pipe):
    with accelerate(pipe, "interval", plugins=PLUGINS):
        wanted = draw(pipe)
        real = pipe.context.at

        def at(step, branch):
            real(step, branch)
            if step == 5:
                raise KeyboardInterrupt

        pipe.context.at = at
        with pytest.raises(KeyboardInterrupt):
            pipe("something else", seed=3)
        del pipe.context.at
        assert (draw(pipe) == wanted).all()
