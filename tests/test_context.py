import weakref

import pytest

from fastdiffusers.context import StepContext
from fastdiffusers.errors import InputError, PluginError
from fastdiffusers.recorder import Recorder


def test_a_generation_as_the_pipeline_tells_it():
    context = StepContext()
    assert (context.generation, context.active, context.sigma) == (0, False, 0.0)
    context.begin([1.0, 0.5, 0.0])
    assert (context.generation, context.active, context.steps, context.sigmas) == (1, True, 2, (1.0, 0.5))
    context.at(1, "uncond")
    assert (context.step, context.branch, context.sigma) == (1, "uncond", 0.5)
    context.end()
    context.end()
    assert not context.active and context.branch == "cond"


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda c: c.begin([]), "at least one sigma"),
        (lambda c: c.begin([0.0]), "at least one sigma"),
        (lambda c: c.at(0), "outside a generation"),
        (lambda c: (c.begin([1.0]), c.at(1)), "step 1 does not exist"),
        (lambda c: (c.begin([1.0]), c.at(-1)), "step -1 does not exist"),
        (lambda c: (c.begin([1.0]), c.at(0, "other")), "unknown branch 'other'; valid: cond, uncond"),
    ],
)
def test_what_cannot_be_is_refused(call, words):
    with pytest.raises(InputError, match=words):
        call(StepContext())


def test_callbacks_run_at_begin_until_removed():
    context, calls = StepContext(), []
    remove_one = context.on_begin(lambda: calls.append(1))
    remove_two = context.on_begin(lambda: calls.append(2))
    context.begin([1.0])
    remove_one()
    remove_one()
    context.begin([1.0])
    remove_two()
    assert calls == [1, 2, 2] and context.listeners == 0


def test_the_same_callback_twice_is_removed_once():
    context, calls = StepContext(), []
    callback = calls.append
    remove = context.on_begin(lambda: callback(1))
    context.on_begin(lambda: callback(1))
    remove()
    context.begin([1.0])
    assert calls == [1]


def test_state_is_per_branch_and_new_in_each_generation():
    context = StepContext()
    state = Recorder(None, context).state(list)
    context.begin([1.0, 0.5])
    context.at(0, "cond")
    cond = state()
    context.at(0, "uncond")
    uncond = state()
    context.at(1, "cond")
    assert state() is cond and cond is not uncond
    context.begin([1.0, 0.5])
    assert state() is not cond


@pytest.mark.parametrize(
    "restart",
    [
        lambda c: c.begin([1.0, 0.5, 0.25]),  # interrupted: no end before it
        lambda c: (c.end(), c.begin([1.0, 0.5], shape=(2, 4, 8))),
        lambda c: c.at(0, "cond"),  # a step back cannot be the same picture
        lambda c: c.at(1, "cond", shape=(2, 4, 8)),  # nor can another shape
    ],
)
def test_state_is_dropped_by_whatever_starts_another_picture(restart):
    context = StepContext()
    state = Recorder(None, context).state(list)
    context.begin([1.0, 0.5], shape=(1, 4, 8))
    context.at(1, "cond", shape=(1, 4, 8))
    before, generation = state(), context.generation
    restart(context)
    assert state() is not before and context.generation == generation + 1


def test_nothing_is_kept_outside_a_generation_or_after_closing():
    context = StepContext()
    recorder = Recorder(None, context)
    state = recorder.state(set)
    assert state() is not state()
    context.begin([1.0])
    kept = state()
    assert state() is kept
    alive = weakref.ref(kept)
    context.end()
    assert state() is not kept
    del kept
    assert alive() is None, "the memory of a finished generation is freed"
    recorder.undo()
    assert context.listeners == 0
    with pytest.raises(PluginError, match="after its accelerator had been taken off"):
        state()
