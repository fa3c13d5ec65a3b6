"""What a cache holds: to the byte what the allocator says, nothing after the picture, and no more after 300 of them."""

import gc
import tracemalloc

import paddle
import pytest
from preset_options import ENGAGED

from fastdiffusers.patching import patch
from fastdiffusers.session import accelerate
from fastdiffusers.testing import tiny_flux

OURS = [tracemalloc.Filter(True, "*/fastdiffusers*")]


def live():
    """Bytes of all tensors that are alive, by Paddle's own account."""
    gc.collect()
    return paddle.base.core.host_memory_stat_current_value("Allocated", 0)


def draw(pipe, **changes):
    return pipe("a red apple", **{"seed": 1, "num_inference_steps": 10, "output_type": "latent", **changes})


def live_at_each_step(pipe):
    """Bytes alive when a step begins, and after the last one."""
    found = []
    real_at, real_end = pipe.context.at, pipe.context.end

    def at(step, *rest, **named):
        found.append(live())
        return real_at(step, *rest, **named)

    def end():
        found.append(live())
        return real_end()

    restore = [patch(pipe.context, "at", at), patch(pipe.context, "end", end)]
    try:
        draw(pipe)
    finally:
        for undo in restore:
            undo()
    return found[1:]


@pytest.mark.parametrize("name", sorted(ENGAGED))
def test_the_bytes_in_the_record_are_those_of_the_allocator_and_none_are_left(name, pipe):
    with accelerate(pipe, f"{name}:{ENGAGED[name]}", steps=10) as session:
        draw(pipe)  # matrices that are computed once for all pictures
        between = live()
        cached = live_at_each_step(pipe)
        counted = session.report()[0].stats["bytes"]
        assert live() == between
    assert live() == between
    plain = live_at_each_step(pipe)
    assert max(more - less for more, less in zip(cached, plain, strict=True)) == counted


class Stopped(Exception):
    pass


@pytest.mark.parametrize("name", ["teablockcache", "taylorseer"])
def test_an_interrupted_picture_leaves_nothing_either(name, pipe):
    with accelerate(pipe, f"{name}:{ENGAGED[name]}", steps=10):
        draw(pipe)
        between = live()
        restore = patch(pipe.scheduler, "step", _stopping(pipe.scheduler.step))
        try:
            with pytest.raises(Stopped):
                draw(pipe)
        finally:
            restore()
        assert live() == between
    assert live() == between


def _stopping(step):
    calls = []

    def stopping(*inputs, **named):
        calls.append(1)
        if len(calls) == 6:
            raise Stopped
        return step(*inputs, **named)

    return stopping


def ours():
    """Bytes that Python holds for this project's lines; Paddle by itself keeps some 2 kB of each picture."""
    gc.collect()
    return sum(trace.size for trace in tracemalloc.take_snapshot().filter_traces(OURS).traces)


@pytest.mark.slow
def test_memory_is_flat_over_three_hundred_pictures():
    """Tensors: the same bytes after each. Everything else: not even a few numbers for each picture."""
    pipe = tiny_flux(layers=1, single_layers=1)
    bytes_alive = []
    with accelerate(pipe, "cache:scope=blocks:indicator=probe:estimator=newton:threshold=0.9", steps=8) as session:
        for number in range(300):
            if number == 100:
                tracemalloc.start()
            draw(pipe, seed=number, num_inference_steps=8)
            if number % 20 == 19:
                bytes_alive.append(live())
            if number == 119:
                settled = ours()
        grown = ours() - settled
        tracemalloc.stop()
        assert session.report()[0].engaged
    assert set(bytes_alive) == {bytes_alive[0]}
    assert grown < 180 * 40, f"{grown} bytes more after 180 pictures"
