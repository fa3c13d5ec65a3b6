"""The engine on a stack that counts: who is run, what stands in, what is held."""

from types import SimpleNamespace

import numpy as np
import paddle
import pytest
from counting_stack import TEXT, TOKENS, WIDTH, drive, model_of, plain

from fastdiffusers.caching.cache import Cache
from fastdiffusers.caching.design import Design, Rules
from fastdiffusers.caching.estimators import OUTPUT, Newton, Reuse, Taylor
from fastdiffusers.caching.indicators import FirstBlocks, Interval, Mask, ProbeChange
from fastdiffusers.caching.loop import CacheLoop, Log
from fastdiffusers.caching.modules import ModuleLoop
from fastdiffusers.caching.scopes import Between, Blocks, Cut, Modules, Stack
from fastdiffusers.caching.stack import BlockGroup, BlockStack, Form
from fastdiffusers.context import StepContext
from fastdiffusers.errors import PluginError
from fastdiffusers.models.transformer_flux import BlockLoop
from fastdiffusers.pipelines.flux_stack import FLUX_STACK
from fastdiffusers.plugins import registry
from fastdiffusers.recorder import Recorder

LEVELS = [1.0, 2.0, 3.0, 5.0, 8.0, 13.0]
FULL = [0, 1, 2, 3, 4]
# what the stack of 2 double and 3 single blocks adds to the image, in units of temb
SUM = 1 + 2 + 3 + 4 + 5


def every(n):
    return lambda: Interval(n)


def test_without_a_cache_the_output_is_the_sum_of_all_blocks():
    assert drive([], LEVELS).outputs == [SUM * level for level in LEVELS]


@pytest.mark.parametrize(
    ("scope", "skipped", "stale"),
    [
        (Stack(), [], [1, 2, 3, 4, 5]),
        (Between(1, 0), [0], [2, 3, 4, 5]),
        (Between(1, 2), [0, 3, 4], [2, 3]),
        (Between(3, 1), [0, 1, 2, 4], [4]),
        (Cut(3), [3, 4], [1, 2, 3]),
        (Cut(2), [2, 3, 4], [1, 2]),
        (Blocks(), [], [1, 2, 3, 4, 5]),
        (Blocks(1), [0, 2], [2, 4, 5]),
    ],
)
@pytest.mark.parametrize("of", ["residual", "output"])
def test_each_scope_runs_its_own_blocks_and_reuses_the_others(scope, skipped, stale, of):
    done = drive(Design(scope, every(2), lambda: Reuse(of)), LEVELS)
    assert done.runs == [FULL, skipped] * 3
    for step in (1, 3, 5):
        old, new = LEVELS[step - 1], LEVELS[step]
        expected = sum(n * (old if n in stale else new) for n in range(1, 6))
        if of == "output" and not (isinstance(scope, Cut | Stack)):
            # an output throws away what was computed before it: all up to the last stale block is as it was
            expected = sum(n * (old if n <= max(stale) else new) for n in range(1, 6))
        assert done.outputs[step] == pytest.approx(expected)


def test_text_is_carried_through_double_blocks_that_are_skipped():
    """A single block that reads the text sees what a run of the double blocks would have left there."""
    model = model_of(2, 1)
    seen = []
    real = model.single_transformer_blocks[0].change
    model.single_transformer_blocks[0].change = lambda temb: seen.append(1) or real(temb)

    class Reader(type(model.single_transformer_blocks[0])):
        def __call__(self, joint, temb, rope):
            seen.append(joint[:, :TEXT].mean().item())
            return super().__call__(joint, temb, rope)

    model.single_transformer_blocks[0] = Reader(3.0)
    drive(Design(Between(0, 1), every(2)), [1.0, 1.0, 4.0, 4.0], model)
    assert seen == [-3.0, -3.0, -12.0, -12.0]  # each double block takes its number times temb from the text


def test_a_forecast_takes_the_place_of_the_value():
    # levels on a parabola: the order-2 forecast through steps 0, 2, 3 is exact at 4 and 5
    levels = [float(t * t + 1) for t in range(6)]
    computed = {0, 2, 3}
    done = drive(Design(Stack(), lambda: Mask(computed), lambda: Newton(order=2)), levels)
    np.testing.assert_allclose(done.outputs[2:], [SUM * level for level in levels[2:]], rtol=1e-5)
    assert done.outputs[1] == SUM * levels[0]
    sigmas = [1.0, 0.9, 0.7, 0.4, 0.35, 0.2]
    levels = [sigma * sigma for sigma in sigmas]
    done = drive(Design(Stack(), lambda: Mask(computed), lambda: Newton(OUTPUT, 2, "sigma")), levels, sigmas=sigmas)
    np.testing.assert_allclose(done.outputs[4:], [SUM * level for level in levels[4:]], rtol=1e-4)


def test_modules_are_forecast_by_one_decision():
    model = model_of(2, 1)
    calls = []
    for block in model.transformer_blocks:
        block.attn = SimpleNamespace(double=lambda i, t, rope: calls.append("attn") or (i, t))
        block.ff = SimpleNamespace(forward=lambda x: calls.append("ff") or x)
        block.ff_context = SimpleNamespace(forward=lambda x: calls.append("context") or x)
    model.single_transformer_blocks[0].mixed = lambda x, rope: calls.append("mixed") or x

    def inner(model, image, text, temb, rope):
        for block in model.transformer_blocks:
            image, text = block.attn.double(image, text, rope)
            image, text = block.ff.forward(image + temb.mean()), block.ff_context.forward(text)
        return model.single_transformer_blocks[0].mixed(image, rope)

    context, log = StepContext(), Log()
    recorder = Recorder(SimpleNamespace(), context)
    design = Design(Modules(), every(2), lambda: Taylor(OUTPUT, 1))
    loop = ModuleLoop(inner, FLUX_STACK, recorder, design, log)
    loop.patch(recorder, model)
    context.begin([1.0, 0.8, 0.6, 0.4])
    for step in range(4):
        context.at(step)
        temb = paddle.full([1, WIDTH], float(step))
        loop(model, paddle.zeros([1, TOKENS, WIDTH]), paddle.zeros([1, TEXT, WIDTH]), temb, None)
    assert calls == ["attn", "ff", "context", "attn", "ff", "context", "mixed"] * 2
    assert [computed for _, computed in log.steps] == [True, False, True, False] and log.shares == [1, 0, 1, 0]
    # two orders of: 2 × (attention's two streams, two MLPs), one output of the single block; the probe is not kept
    assert log.peak == 2 * 4 * WIDTH * (2 * 2 * (TOKENS + TEXT) + TOKENS)
    recorder.undo()
    assert not any(isinstance(b.ff.forward, type(loop)) for b in model.transformer_blocks)


@pytest.mark.parametrize(
    ("design", "floats"),
    [
        (Design(Stack(), every(2)), TOKENS),
        (Design(Stack(), lambda: ProbeChange(1.0)), 2 * TOKENS),
        (Design(Stack(), every(2), lambda: Taylor(OUTPUT, 2)), 3 * TOKENS),
        (Design(Between(1, 0), lambda: FirstBlocks(9.0)), 2 * TOKENS),
        (Design(Between(1, 1), lambda: FirstBlocks(9.0)), TOKENS + (TOKENS + TEXT)),
        (Design(Cut(2), every(2), lambda: Reuse(OUTPUT)), TOKENS + TEXT),
        # both streams of the double blocks, the joint sequence of the single ones, of the last one the image alone
        (Design(Blocks(), every(2)), 2 * (TOKENS + TEXT) + 2 * (TOKENS + TEXT) + TOKENS),
        # and a probe for each of them: the image's of double blocks, the joint sequence's of single ones
        (Design(Blocks(), lambda: ProbeChange(9.0)), 4 * (TOKENS + TEXT) + TOKENS + 2 * TOKENS + 3 * (TOKENS + TEXT)),
    ],
)
def test_what_is_held_is_counted_to_the_byte(design, floats):
    assert drive(design, LEVELS).log.peak == 4 * WIDTH * floats


@pytest.mark.parametrize("scope", [Stack(), Between(1, 0), Between(1, 1), Cut(3), Cut(4), Blocks()])
@pytest.mark.parametrize(
    "estimator",
    [Reuse, lambda: Reuse(OUTPUT), lambda: Newton(OUTPUT, 1)],
    ids=["residual", "output", "newton"],
)
def test_what_is_reused_survives_a_change_in_place_of_what_came_out(scope, estimator):
    """A model or an accelerator outside may write into its tensors; the next skipped step must not see that."""
    design = Design(scope, every(3), estimator)
    spoiled = drive(design, LEVELS, spoil=lambda out: out.fill_(1e9))
    assert spoiled.outputs == drive(design, LEVELS).outputs


@pytest.mark.parametrize("order", [0, 1])
def test_a_modules_output_survives_a_change_in_place_too(order):
    def outputs(spoil):
        made = paddle.to_tensor(0.0)
        owner = SimpleNamespace(forward=lambda x: x + made)
        model = model_of(1, 0)
        model.transformer_blocks[0].ff = owner

        def inner(model, image, text, temb, rope):
            made.set_value(temb.mean())
            out = owner.forward(image)
            seen.append(out.mean().item())
            spoil(out)
            return image

        context, seen = StepContext(), []
        recorder = Recorder(SimpleNamespace(), context)
        loop = ModuleLoop(
            inner, FLUX_STACK, recorder, Design(Modules("mlp"), every(3), lambda: Taylor(OUTPUT, order)), Log()
        )
        loop.patch(recorder, model)
        context.begin(np.linspace(1, 0.1, len(LEVELS)))
        for step, level in enumerate(LEVELS):
            context.at(step)
            loop(model, paddle.zeros([1, TOKENS, WIDTH]), None, paddle.full([1, WIDTH], level), None)
        return seen

    untouched = outputs(lambda out: None)
    assert untouched[:4] == [1.0, 1.0, 1.0, 5.0]
    assert outputs(lambda out: out.fill_(1e9)) == untouched


def test_nothing_is_held_after_the_generation():
    done = drive(Design(Stack(), every(2)), LEVELS)
    assert done.recorder.context.active is False
    loop = SimpleNamespace(states=[undo.__self__ for undo in done.recorder._undo if hasattr(undo, "__self__")])
    assert [branch._states for branch in loop.states] == [{}]


def test_a_cache_within_a_cache_counts_each_step_once():
    inner = Design(Blocks(1), every(2))
    outer = Design(Stack(), lambda: Mask({0, 1, 2, 4, 5}))
    done = drive([inner, outer], LEVELS)
    assert done.runs == [FULL, [0, 2], FULL, [], FULL, [0, 2]]
    assert [computed for _, computed in done.log.steps] == [True, False, True, False, True, False]
    assert done.log.shares == pytest.approx([1, 0.4, 1, 0, 1, 0.4])


def test_other_tokens_are_never_given_the_old_ones_state():
    context = StepContext()
    loop = CacheLoop(plain, FLUX_STACK, Recorder(SimpleNamespace(), context), Design(Stack(), every(9)), Log())
    context.begin([1.0, 0.5])
    for step, tokens in enumerate((4, 6)):
        context.at(step)
        out = loop(model_of(1, 1), paddle.zeros([1, tokens, 8]), paddle.zeros([1, 3, 8]), paddle.ones([1, 8]), None)
        assert out.shape == [1, tokens, 8]


class Walking(Cache):
    def designs(self, info):
        return (Design(Blocks(), every(2)),)


def test_a_cache_of_blocks_is_not_put_around_a_loop_that_would_be_bypassed():
    class Fused:
        def __call__(self, *args):
            return args[1]

    pipe = SimpleNamespace(info=SimpleNamespace(family="flux"), transformer=model_of(1, 1))
    pipe.transformer.block_loop = Fused()
    recorder = Recorder(pipe, StepContext())
    with pytest.raises(PluginError, match="Fused has replaced the loop over them and would never be reached"):
        Walking(None).attach(pipe, recorder)
    pipe.transformer.block_loop = BlockLoop()
    Walking(None).attach(pipe, recorder)


def test_the_claims_say_that_one_cache_goes_around_what_compiles_blocks():
    caches = [spec for spec in registry().accelerators.values() if "cache" in spec.tags]
    assert len(caches) >= 12
    for spec in caches:
        assert spec.claims == {"blocks"} and spec.requires == {"blocks"}
        assert ("fused-loop" in spec.conflicts) == ("whole-stack" not in spec.tags)
    assert {spec.name for spec in caches if "whole-stack" in spec.tags} == {
        "teacache",
        "seacache",
        "magcache",
        "static",
    }


def test_a_strangers_stack_is_driven_from_its_description_alone():
    """As SD3's: one list of blocks with the streams apart, no rotary table, and no text after the last block."""
    calls = []

    def run(block, streams, conditions):
        calls.append(block)
        image, text = streams
        return image + block * conditions[0], None if block == 3 else text - block

    group = BlockGroup("joint_blocks", "num_layers", Form.APART, run, lambda block, streams, conditions: streams[0])
    stack = BlockStack((group,), loop="fastdiffusers.models.transformer_flux:BlockLoop")
    assert stack.forms({"num_layers": 3}) == [Form.APART] * 3

    def inner(model, image, text, temb):
        streams = (image, text)
        for block in model.joint_blocks:
            streams = run(block, streams, (temb,))
        return streams[0]

    for scope, skipped in ((Stack(), []), (Between(1), [1]), (Between(0, 1), [3]), (Blocks(), []), (Cut(2), [3])):
        context = StepContext()
        loop = CacheLoop(inner, stack, Recorder(SimpleNamespace(), context), Design(scope, every(2)), Log())
        context.begin([1.0, 0.5])
        for step, wanted in enumerate(([1, 2, 3], skipped)):
            context.at(step)
            calls.clear()
            out = loop(SimpleNamespace(joint_blocks=[1, 2, 3]), paddle.ones([1, 4, 2]), paddle.ones([1, 2, 2]), 0.5)
            assert calls == wanted and out.tolist() == [[[4.0, 4.0]] * 4]


def test_modules_within_compiled_blocks_are_refused():
    class Inside(Cache):
        def designs(self, info):
            return (Design(Modules(), every(2), lambda: Reuse(OUTPUT)),)

    pipe = SimpleNamespace(info=SimpleNamespace(family="flux"), transformer=model_of(1, 1))
    pipe.transformer.block_loop = BlockLoop()
    pipe.transformer.single_transformer_blocks[0].forward = "compiled"
    with pytest.raises(PluginError, match="decides within the blocks, but these are compiled"):
        Inside(None).attach(pipe, Recorder(pipe, StepContext()))


def test_rules_hold_for_each_block_by_itself():
    rules = Rules(max_consecutive=1)
    done = drive(Design(Blocks(2), lambda: Mask(()), rules=rules), LEVELS)
    assert done.runs == [FULL, [0, 1, 2, 3]] * 3
