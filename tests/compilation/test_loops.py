"""What a compiler puts in place of the blocks: which stretches it is asked for, what it makes of failures, flags."""

import numpy as np
import paddle
import pytest
from stub_engine import Stub, with_stub

from fastdiffusers.errors import CompileError, PlanError, PluginError
from fastdiffusers.session import accelerate

FLAG = "FLAGS_prim_enable_dynamic"


@pytest.fixture
def attach(pipe):
    Stub.calls.clear()
    return lambda words: accelerate(pipe, words, plugins=with_stub(), steps=10)


def spans():
    return sorted(set(Stub.calls))


def test_without_a_cache_all_blocks_are_one_program(attach, draw):
    with attach("stub") as session:
        draw()
        (record,) = session.report()
    assert spans() == [(0, 6)] and len(Stub.calls) == 10
    assert record.engaged and record.stats["calls"] == 10 and record.stats["programs"] == 1


@pytest.mark.parametrize(
    ("cache", "wanted"),
    [
        ("teacache:threshold=0.4:coefficients=identity", [(0, 6)]),
        ("fbcache:threshold=2", [(0, 1), (1, 6)]),
        ("dbcache:threshold=2:first=1:last=2:warmup=2", [(0, 1), (1, 4), (4, 6)]),
        ("blockdance:cut=3:interval=2", [(0, 3), (3, 6)]),
    ],
)
def test_a_cache_decides_between_compiled_stretches_as_between_eager_blocks(cache, wanted, attach, draw, pipe):
    with accelerate(pipe, cache, steps=10) as session:
        plain = draw()
        eager = session.report()[0].stats
    with attach(f"{cache},stub") as session:
        found = draw()
        inner, outer = session.report()
    assert [inner.name, outer.engaged] == ["stub", True]
    assert spans() == wanted
    assert outer.stats["pattern"] == eager["pattern"] and set(".o") & set(eager["pattern"])
    assert np.array_equal(found, plain)


def test_scope_blocks_makes_a_program_of_every_block(attach, draw):
    with attach("stub:scope=blocks") as session:
        draw()
        assert session.report()[0].stats["programs"] == 6
    assert spans() == [(i, i + 1) for i in range(6)]


def test_scope_stack_refuses_a_cache_that_would_bypass_it(attach, draw):
    with attach("stub:scope=stack,teacache:coefficients=identity"):
        draw()
    assert spans() == [(0, 6)]
    with pytest.raises(PluginError, match=r"StackLoop has replaced the loop.*use a cache of whole steps"):
        attach("stub:scope=stack,fbcache")


def test_a_cache_within_the_blocks_is_refused(attach):
    with pytest.raises(PluginError, match=r"decides within the blocks, but these are compiled"):
        attach("stub,taylorseer:mode=module")


def test_a_second_compiler_is_refused(attach):
    with pytest.raises(PlanError, match="both stub and inference claim 'graph'"):
        attach("stub,inference")


def test_flags_are_set_while_attached_and_restored(attach, draw):
    before = paddle.get_flags([FLAG])
    assert before[FLAG] is False
    with attach("stub"):
        assert paddle.get_flags([FLAG])[FLAG] is True
    assert paddle.get_flags([FLAG]) == before
    with pytest.raises(CompileError):
        attach("stub:does=missing")
    assert paddle.get_flags([FLAG]) == before


@pytest.mark.parametrize(
    ("does", "message"),
    [
        ("raises", "unsupported op pd_op.magic"),
        ("late", "the compiler was aborted"),
        ("wrong", "the result is off by 0.01 of its largest value; 0.0001 is let pass"),
    ],
)
def test_a_failure_stops_unless_eager_blocks_may_stand_in(does, message, attach, draw):
    plain = draw()
    with attach(f"stub:does={does}"), pytest.raises(CompileError, match=message) as caught:
        draw()
    assert "\n" not in str(caught.value) and "fallback=eager" in str(caught.value)
    with attach(f"stub:does={does}:fallback=eager") as session:
        found = draw()
        (record,) = session.report()
    assert np.array_equal(found, plain)
    assert not record.engaged and record.reason.startswith("NO EFFECT") and message in record.reason
    assert "EAGER" in record.effect and record.stats["eager_calls"] == 10


def test_what_is_missing_is_said_at_the_attach(attach):
    with pytest.raises(CompileError, match="stub is not installed; install it"):
        attach("stub:does=missing")


def test_a_program_that_is_never_reached_is_reported(attach, draw, pipe):
    with attach("stub") as session:
        compiled, plain = pipe.transformer.block_loop, session.accelerator("stub")
        from fastdiffusers.models.transformer_flux import BlockLoop

        pipe.transformer.block_loop = BlockLoop()
        draw()
        (record,) = session.report()
        pipe.transformer.block_loop = compiled
        assert plain is not None
    assert not record.engaged and "never reached" in record.reason


def test_fused_groups_are_counted(attach, draw):
    with attach("stub:does=groups") as session:
        draw()
        (record,) = session.report()
    assert record.stats["fused_groups"] == 3 and "3 fused groups" in record.effect


def test_sizes_and_batches_have_programs_of_their_own_and_keep_them(attach, draw):
    with attach("stub") as session:
        for _ in range(2):
            draw()
            draw(height=64)
            draw(num_images_per_prompt=2)
        (record,) = session.report()
    assert record.stats["compiled"] == 3


def test_programs_of_many_sizes_make_room_for_each_other(attach, draw, monkeypatch):
    from fastdiffusers.compilation import programs

    monkeypatch.setattr(programs, "MOST_SHAPES", 2)
    with attach("stub") as session:
        for height in (32, 64, 32, 96, 32, 64):  # 64 has made room for 96, since 32 was used after it
            draw(height=height)
        (record,) = session.report()
        assert len(session.accelerator("stub")._compiled[0].programs._programs) == 2
    assert record.stats["compiled"] == 4


def test_changed_weights_drop_what_was_compiled(attach, draw, pipe):
    layer = pipe.transformer.single_transformer_blocks[1].proj_out
    own, saved = layer.weight, layer.weight.numpy()
    try:
        with attach("stub") as session:
            draw()
            draw()
            assert session.report()[0].stats["compiled"] == 1
            with_other = paddle.base.framework.EagerParamBase.from_tensor(paddle.to_tensor(saved + 0.1))
            layer.weight = with_other
            draw()
            (record,) = session.report()
        assert record.stats["compiled"] == 2 and "weights were changed" in record.effect
    finally:
        layer.weight = own


def test_gradients_are_refused(attach, pipe):
    with attach("stub"):
        tokens = paddle.randn([1, 4, 32])
        tokens.stop_gradient = False
        conditions = (paddle.randn([1, 32]), pipe.transformer.rope(np.zeros((2, 3)), np.zeros((4, 3))))
        with pytest.raises(CompileError, match="no gradient"):
            pipe.transformer.block_loop(pipe.transformer, tokens, paddle.randn([1, 2, 32]), *conditions)
