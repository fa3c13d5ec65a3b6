"""Order, timing and failures of a bench, on a pipeline whose clock is a script."""

import gc

import pytest
from scripted import STEPS, ScriptedPipe, measure

from fastdiffusers.bench.measure import computed_steps

# what one timed run takes: text, steps, decoding
PLAIN = 0.02 + 0.1 * STEPS + 0.03
FAST = 0.02 + 0.05 * STEPS + 0.03


def timed(pipe):
    """The timed calls: full length, after the warm-ups."""
    return [(arm, prompt, seed) for arm, prompt, seed, steps in pipe.calls if steps > 2]


def test_each_round_draws_one_prompt_with_every_arm_and_another_arm_begins():
    pipe = ScriptedPipe()
    result = measure(["fast", "compiled"], pipe, prompts=("a", "b"), runs=2, seed=5)
    warm_ups, rounds = timed(pipe)[:3], timed(pipe)[3:]
    assert [arm for arm, _, _ in warm_ups] == ["none", "fast", "compiled"]
    assert [arm for arm, _, _ in rounds] == [
        *("none", "fast", "compiled"),
        *("fast", "compiled", "none"),
        *("compiled", "none", "fast"),
        *("none", "fast", "compiled"),
    ]
    assert [(prompt, seed) for _, prompt, seed in rounds] == [("a", 5)] * 3 + [("b", 6)] * 3 + [("a", 5)] * 3 + [
        ("b", 6)
    ] * 3
    assert result.rounds == 4 and not result.interrupted


def test_attach_warm_up_and_detach_are_not_in_the_latency():
    result = measure(["fast"])
    plain, fast = result.arms
    assert [sample.seconds for sample in plain.samples] == pytest.approx([PLAIN] * 4)
    assert [sample.seconds for sample in fast.samples] == pytest.approx([FAST] * 4)
    assert fast.attach_s == pytest.approx([7.0] * 5)
    assert fast.warmup_s == pytest.approx(FAST)
    assert fast.samples[0].stages["denoise"] == pytest.approx(0.5)


def test_every_timed_run_follows_a_short_run_of_the_same_arm_and_prompt():
    pipe = ScriptedPipe()
    measure(["fast"], pipe)
    calls = pipe.calls[2:]
    assert [steps for *_, steps in calls] == [2, STEPS] * (len(calls) // 2)
    assert all(short[:3] == full[:3] for short, full in zip(calls[::2], calls[1::2], strict=True))


def test_an_arm_with_steps_of_its_own_samples_with_them():
    pipe = ScriptedPipe()
    result = measure(["none@4"], pipe)
    assert {steps for *_, steps in pipe.calls} == {2, 4, STEPS}
    assert [sample.steps for sample in result.arms[1].samples] == [4] * 4


def test_an_accelerator_that_owns_the_steps_is_given_none():
    pipe = ScriptedPipe()
    result = measure(["four-steps"], pipe)
    without = [options for options in pipe.options if "num_inference_steps" not in options]
    assert len(without) == 1 + 2 * 4  # the warm-up, and two in each round
    assert [sample.steps for sample in result.arms[1].samples] == [4] * 4


def test_the_garbage_collector_is_off_while_the_clock_runs_and_on_again_after():
    states = []

    class Watching(ScriptedPipe):
        def __call__(self, prompt, **options):
            states.append((options["num_inference_steps"], gc.isenabled()))
            return super().__call__(prompt, **options)

    measure([], Watching(), prompts=("a",), runs=1)
    assert states == [(STEPS, True), (2, True), (STEPS, False)]
    assert gc.isenabled()


def test_a_control_has_as_many_plain_steps_as_the_cache_computed():
    result = measure(["fast"], controls=True)
    control = result.arms[2]
    assert control.planned.arm.label == "none@5" and control.planned.arm.control_of == "fast"
    assert len(control.samples) == 4


def test_a_control_has_the_middle_number_of_steps_over_all_prompts():
    """On the first prompt alone it would be 7."""
    result = measure(["varying"], controls=True, prompts=("a", "b", "c"))
    assert result.arms[2].planned.arm.label == "none@4"


def test_of_many_prompts_four_are_drawn_to_find_the_middle():
    pipe = ScriptedPipe()
    result = measure(["fast", "none@3"], pipe, controls=True, prompts=tuple("abcdefgh"), runs=1)
    assert [prompt for arm, prompt, _ in timed(pipe) if arm == "fast"][:4] == ["a", "c", "e", "g"]
    assert len(result.arms[1].warm_records) == 4 and len(result.arms[2].warm_records) == 1


def test_no_control_twice_and_none_where_all_steps_were_computed():
    asked = measure(["fast", "none@5"], controls=True)
    assert [arm.planned.arm.label for arm in asked.arms] == ["none", "fast", "none@5"]
    assert [arm.planned.arm.label for arm in measure(["idle"], controls=True).arms] == ["none", "idle"]


def test_a_failing_arm_is_marked_and_the_others_go_on():
    result = measure(["failing", "fast"])
    failing = result.arms[1]
    assert failing.error == "RuntimeError: out of luck" and not failing.samples
    assert len(result.arms[2].samples) == 4


def test_a_failing_baseline_ends_the_bench():
    class Broken(ScriptedPipe):
        def __call__(self, prompt, **options):
            raise RuntimeError("no weights")

    with pytest.raises(RuntimeError, match="no weights"):
        measure(["fast"], Broken())


def test_ctrl_c_keeps_the_complete_rounds_only():
    class Interrupted(ScriptedPipe):
        def __call__(self, prompt, **options):
            if len(self.calls) == 2 + 2 * 2 * 2 + 1:  # warm-ups, two rounds, one call of the third
                raise KeyboardInterrupt
            return super().__call__(prompt, **options)

    result = measure(["fast"], Interrupted())
    assert result.interrupted and result.rounds == 2
    assert [len(arm.samples) for arm in result.arms] == [2, 2]


def test_pictures_that_do_not_repeat_are_noticed():
    class Wandering(ScriptedPipe):
        def __call__(self, prompt, **options):
            output = super().__call__(prompt, **options)
            output.latents = output.latents + (0.001 * len(self.calls) if self.attached else 0)
            return output

    steady, wandering = measure(["fast"], Wandering()).arms
    assert steady.repeatable and not wandering.repeatable


@pytest.mark.parametrize(
    ("stats", "expected"),
    [
        ({"computed": 7, "steps": 28}, (7.0, 28)),
        ({"cond": {"computed": 7, "steps": 28}, "uncond": {"computed": 9, "steps": 28}}, (7.0, 28)),
        ({"computed": 7}, None),
        ({}, None),
    ],
)
def test_computed_steps_are_read_from_the_stats(stats, expected):
    assert computed_steps([{"stats": {}}, {"stats": stats}]) == expected
