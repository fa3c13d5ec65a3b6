"""A pipeline of another library in a session: who recognises it, and how it is given back. No Paddle."""

import dataclasses
import types

import pytest
from fake_accelerators import spec
from fake_pipe import FakeInfo, FakePipe

from fastdiffusers.adoption import adopt, is_ours
from fastdiffusers.errors import InputError, PlanError, PluginError
from fastdiffusers.pipelines.family import PipelineFamily
from fastdiffusers.plugins import Registry, Source
from fastdiffusers.session import accelerate


class Theirs:
    """A pipeline without `info` and `context`."""

    def __init__(self):
        self.inner = FakePipe()
        self.touched = False


class Holder:
    def __init__(self, pipe, recorder):
        recorder.patch(pipe, "touched", True)
        if pipe.inner is None:
            raise RuntimeError("no inner part")
        self.info = dataclasses.replace(FakeInfo(), name="theirs")
        self.transformer = pipe.inner.transformer
        self.context = recorder.context


@pytest.fixture
def plugins(monkeypatch):
    import sys

    module = types.ModuleType("holders")
    module.Holder = Holder
    monkeypatch.setitem(sys.modules, "holders", module)
    family = PipelineFamily("theirs", "", "", recognise=lambda pipe: isinstance(pipe, Theirs), holder="holders:Holder")
    found = Registry()
    found.pipelines["theirs"] = family
    found.accelerators["interval"] = spec()
    return found


def test_it_is_recognised_held_and_given_back(plugins):
    theirs = Theirs()
    assert is_ours(theirs.inner) and not is_ours(theirs)
    recorder = adopt(theirs, plugins)
    assert isinstance(recorder.pipe, Holder) and theirs.touched and is_ours(recorder.pipe)
    assert recorder.undo() == [] and vars(theirs)["touched"] is False


def test_a_session_stands_for_it_and_undoes_both(plugins):
    theirs = Theirs()
    with accelerate(theirs, "interval", plugins=plugins) as session:
        assert session.pipe.info.name == "theirs" and theirs.touched
        assert session.plan.info.name == "theirs"
    assert not theirs.touched
    session.detach()


def test_what_is_refused_changes_nothing(plugins):
    theirs = Theirs()
    with pytest.raises(PlanError, match="unknown accelerator 'nothing'"):
        accelerate(theirs, "nothing", plugins=plugins)
    assert not theirs.touched
    theirs.inner = None
    with pytest.raises(PluginError, match=r"Theirs .*recognised as 'theirs' but: RuntimeError: no inner part"):
        accelerate(theirs, "interval", plugins=plugins)
    assert not theirs.touched


def test_an_unknown_object_is_one_line(plugins):
    with pytest.raises(InputError, match=r"or to one of ppdiffusers .* got int$"):
        accelerate(3, "interval", plugins=plugins)


def test_the_note_of_a_model_is_in_every_record(plugins):
    theirs = Theirs()
    with accelerate(theirs, "interval", plugins=plugins) as session:
        session.pipe.info = dataclasses.replace(session.pipe.info, extra={})
        assert "tried" not in session.report()[0].reason
        object.__setattr__(session.pipe.info, "note", "tried on paper")
        assert session.report()[0].reason.endswith("; tried on paper")


def family_plugin(**more):
    module = types.ModuleType("one")
    from fastdiffusers.hookspecs import hookimpl

    module.register_pipelines = hookimpl(lambda: [PipelineFamily("a", "", "", **more)])
    return Source("one", "one_module", lambda: module)


@pytest.mark.parametrize("more", [{}, {"recognise": bool}, {"recognise": bool, "holder": "x"}])
def test_a_family_names_a_folders_class_or_a_holder(more):
    record = Registry([family_plugin(**more)]).plugins[0]
    assert record.status == "broken" and "is not of the form 'package.module:Class'" in record.reason


def test_families_without_a_folder_do_not_get_in_each_others_way():
    one = family_plugin(recognise=bool, holder="m:H")
    assert Registry([one]).plugins[0].status == "ok"
