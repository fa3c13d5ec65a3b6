import pytest
from fake_pipe import FakePipe

from fastdiffusers.context import StepContext
from fastdiffusers.errors import PluginError
from fastdiffusers.recorder import Recorder


def test_undo_is_last_first_and_once():
    pipe, log = FakePipe(), []
    recorder = Recorder(pipe, pipe.context)
    recorder.on_detach(lambda: log.append("first"))
    recorder.patch(pipe.scheduler, "shift", 3.0)
    recorder.on_detach(lambda: log.append(pipe.scheduler.shift))
    recorder.on_reset(lambda: log.append("reset"))
    pipe.context.begin([1.0])
    assert recorder.undo() == [] and recorder.undo() == []
    pipe.context.begin([1.0])
    assert log == ["reset", 3.0, "first"] and pipe.scheduler.shift == 1.0


def test_a_failure_does_not_keep_the_rest_from_being_undone():
    pipe = FakePipe()
    recorder = Recorder(pipe, pipe.context)
    recorder.patch(pipe.scheduler, "shift", 3.0)
    recorder.on_detach(lambda: {}["missing"])
    recorder.patch(pipe.scheduler, "extra", 1)
    (error,) = recorder.undo()
    assert isinstance(error, KeyError) and vars(pipe.scheduler).keys() == vars(FakePipe().scheduler).keys()
    assert pipe.scheduler.shift == 1.0


def test_ctrl_c_while_undoing_can_be_followed_by_another_undo():
    pipe, presses = FakePipe(), [KeyboardInterrupt]

    def press():
        if presses:
            raise presses.pop()

    recorder = Recorder(pipe, pipe.context)
    recorder.patch(pipe.scheduler, "shift", 3.0)
    recorder.on_detach(press)
    with pytest.raises(KeyboardInterrupt):
        recorder.undo()
    recorder.undo()
    assert pipe.scheduler.shift == 1.0


def test_nothing_can_be_recorded_afterwards():
    pipe = FakePipe()
    recorder = Recorder(pipe, pipe.context)
    recorder.undo()
    for call in (
        lambda: recorder.patch(pipe.scheduler, "shift", 2.0),
        lambda: recorder.state(dict),
        lambda: recorder.on_reset(lambda: None),
        lambda: recorder.on_detach(lambda: None),
        lambda: recorder.flags({"FLAGS_check_nan_inf": True}),
    ):
        with pytest.raises(PluginError, match="after its accelerator had been taken off"):
            call()


def test_paddle_flags_come_back():
    from fastdiffusers.environment import prepare

    prepare()
    import paddle

    name = "FLAGS_check_nan_inf"
    before = paddle.get_flags(name)
    recorder = Recorder(None, FakePipe().context)
    recorder.flags({name: not before[name]})
    assert paddle.get_flags(name)[name] is not before[name]
    recorder.undo()
    assert paddle.get_flags(name) == before
    with pytest.raises(PluginError, match="cannot set FLAGS_no_such_thing"):
        Recorder(None, FakePipe().context).flags({"FLAGS_no_such_thing": 1})


def test_of_several_flags_none_stays_when_one_is_refused():
    import paddle

    recorder = Recorder(object(), StepContext())
    name = "FLAGS_check_nan_inf"
    before = paddle.get_flags([name])
    with pytest.raises(PluginError, match="cannot set"):
        recorder.flags({name: not before[name], "FLAGS_fraction_of_cpu_memory_to_use": "zz"})
    recorder.undo()
    assert paddle.get_flags([name]) == before
