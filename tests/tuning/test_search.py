"""The search on hand-made curves: even, flat, out of reach, noisy, broken."""

import math

import pytest
from fake_knobs import SETTING, STEPS, Info, Pipe, registry

from fastdiffusers.errors import InputError
from fastdiffusers.tunable import Tunable
from fastdiffusers.tuning import Target, Trial, read_seconds, subject_of, tune
from fastdiffusers.tuning.search import following


def run(words, target, value, pipe, trials=10):
    return tune(subject_of(words, registry(), Info(), SETTING), Target(target, value), pipe.bench(), trials)


def test_the_fastest_setting_within_a_distance_is_found():
    # distance 2·threshold, work 1 − threshold/2: 0.05 is the answer, known to 5 %
    pipe = Pipe(lambda t: 1 - t / 2, lambda t: 2 * t)
    found = run("knob", "max_distance", 0.1, pipe)
    assert 0.05 / 1.05 <= found.choice.value <= 0.05
    assert found.choice.distance == pytest.approx(2 * found.choice.value)
    assert found.choice.speedup == pytest.approx(1 / (1 - found.choice.value / 2))
    assert found.choice.fraction == pytest.approx(1 - found.choice.value / 2)
    assert [t.value for t in found.trials[:3]] == [0.1, 0.01, 0.0316]  # the default, the mild end, halves
    assert len(found.trials) <= 10
    # the choice was measured again; every other setting once
    assert all(pipe.order.count(f"{t.value:g}") == (8 if t is found.choice else 4) for t in found.trials)


def test_runs_of_a_trial_take_turns_with_uncached_ones():
    pipe = Pipe(lambda t: 0.5, lambda t: 1.0)
    run("knob", "max_distance", 0.1, pipe, trials=1)
    assert pipe.order == ["plain", "0.1", "plain", "0.1", "0.1", "plain", "plain", "0.1"]  # warm-up, then ABBAAB


def test_the_nearest_setting_that_is_fast_enough_is_found():
    pipe = Pipe(lambda t: 1 / (1 + 10 * t), lambda t: t)
    found = run("knob", "target_speedup", 3, pipe)
    assert 0.2 <= found.choice.value <= 0.2 * 1.05 and found.choice.speedup >= 3
    # a picture takes 1 s of text and decoding and 2 s of denoising uncached
    found = run("knob", "latency", 1.5, pipe)
    assert 0.3 <= found.choice.value <= 0.3 * 1.05 and found.choice.latency <= 1.5
    assert found.uncached_latency == pytest.approx(3.0)


def test_psnr_as_a_target():
    found = run("knob", "min_psnr", 30, Pipe(lambda t: 1 - t / 2, lambda t: t))
    assert found.choice.psnr >= 30 and found.choice.worst_psnr == pytest.approx(found.choice.psnr)
    milder = [t for t in found.trials if t.value > found.choice.value]
    assert milder and all(t.psnr < 30 for t in milder)


def test_on_a_plateau_the_mildest_of_equal_settings_is_chosen():
    # two treads: everything from 0.03 to 0.3 gives the same pictures
    pipe = Pipe(lambda t: 0.9 if t < 0.03 else 0.5, lambda t: 0.0 if t < 0.03 else 0.08 if t < 0.3 else 0.5)
    found = run("knob", "max_distance", 0.1, pipe)
    equal = [t.value for t in found.trials if t.distance == pytest.approx(0.08)]
    assert found.choice.value == min(equal) and len(equal) > 2


@pytest.mark.parametrize(("wanted", "seen"), [(("max_distance", 0.1), "0.3"), (("target_speedup", 9), "1.11×")])
def test_out_of_reach_chooses_nothing_and_says_what_is_nearest(wanted, seen):
    pipe = Pipe(lambda t: 1 - t / 10, lambda t: 0.3 + t / 10)
    found = run("knob", *wanted, pipe)
    assert found.choice is None
    assert found.nearest.value == (0.01 if wanted[0] == "max_distance" else 1.0)
    assert seen in found.target.seen(found.nearest)
    assert len(found.trials) == 2  # the default and the end that is nearest; between them is nothing better


def test_where_nobody_counts_the_work_the_strongest_setting_is_chosen():
    # the clock says that 0.01 is the fastest, which it cannot be
    pipe = Pipe(lambda t: 0.5 if t > 0.01 else 0.4, lambda t: t)
    pipe.counts = False
    found = run("knob", "max_distance", 0.05, pipe)
    assert found.choice.fraction is None and found.choice.value == max(t.value for t in found.trials if t.value <= 0.05)
    assert any(t.value == 0.01 and t.speedup > found.choice.speedup for t in found.trials)


def test_the_whole_range_within_reach_ends_at_the_strong_end():
    found = run("knob", "max_distance", 9, Pipe(lambda t: 1 - t / 2, lambda t: t))
    assert found.choice.value == 1.0 and len(found.trials) == 2


def test_the_next_value_lies_about_the_first_edge_whatever_order_the_trials_came_in():
    def trial(value, distance):
        return Trial(value, (1.0,), (1.0,), (1.0,), (distance,), (30.0,))

    scale, target = Tunable(0.01, 1.0), Target("max_distance", 0.1)
    trials = [trial(0.2, 0.3), trial(0.05, 0.05), trial(0.8, 0.4), trial(0.4, 0.01), trial(0.02, 0.02)]
    assert following(scale, False, target, trials) == 0.1  # between 0.05 and 0.2, though 0.4 looks good again
    assert following(scale, False, target, [trial(0.2, 0.3)]) == 0.01
    assert following(scale, False, target, [trial(0.2, 0.05)]) == 1.0
    assert following(scale, False, target, [trial(0.01, 0.3)]) is None
    assert following(scale, False, target, [trial(0.2, 0.05), trial(1.0, 0.05)]) is None


def test_integers_up_and_down():
    found = run("budget", "max_distance", 0.25, Pipe(lambda n: n / STEPS, lambda n: 1 - n / STEPS))
    assert found.choice.value == 15 and isinstance(found.choice.value, int)
    found = run("budget", "target_speedup", 3, Pipe(lambda n: n / STEPS, lambda n: 1 - n / STEPS))
    assert found.choice.value == 6


def test_the_best_of_all_trials_is_taken_where_distance_does_not_rise_evenly():
    # good, bad, good again: the bisection ends at the first edge, but the start already met the target with less work
    pipe = Pipe(lambda t: 1 - t / 2, lambda t: 0.05 if t <= 0.02 or t == 0.1 else 0.5)
    found = run("knob", "max_distance", 0.1, pipe)
    assert found.choice.value == 0.1 and any(not found.target.met(t) and t.value > 0.1 for t in found.trials)


def test_a_lucky_measurement_does_not_pass_its_check():
    # the first time, the runs at 0.1 take half the time that they are ever to take again
    pipe = Pipe(lambda t: 1 / (1 + 10 * t), lambda t: t)
    lucky = iter([True] * 8)
    pipe.noise = lambda call: 0.5 if pipe.value == 0.1 and next(lucky, False) else 1.0
    found = run("knob", "target_speedup", 3, pipe)
    once_lucky = next(t for t in found.trials if t.value == 0.1)
    assert once_lucky.speedup == pytest.approx(2) and pipe.order.count("0.1") == 8
    # it had led the search away from where the target is met; with what trials are left it turns round
    assert found.choice.speedup >= 3 and 0.2 <= found.choice.value < 0.5 and len(found.trials) <= 10


def test_a_stalled_machine_moves_no_median():
    pipe = Pipe(lambda t: 1 / (1 + 10 * t), lambda t: t, noise=lambda call: 20.0 if call % 17 == 0 else 1.0)
    found = run("knob", "target_speedup", 3, pipe)
    assert found.choice is not None and found.choice.value >= 0.2
    # 1 s of text and decoding, 2 s or 40 s of denoising
    assert found.noise == pytest.approx(41 / 3) and found.notes[0].startswith(
        "noisy machine: the same uncached picture"
    )
    assert run("knob", "target_speedup", 3, Pipe(lambda t: 1 / (1 + 10 * t), lambda t: t)).notes == []


def test_a_setting_that_gives_no_numbers_is_too_strong():
    pipe = Pipe(lambda t: 1 - t / 2, lambda t: math.inf if t > 0.2 else t / 10)
    found = run("knob", "max_distance", 0.1, pipe)
    assert found.choice.value <= 0.2 and found.choice.value >= 0.18
    broken = [t for t in found.trials if t.broken]
    assert broken and broken[0].to_dict() == {"value": 1.0, "broken": "NumericalError: NaN at step 3"}
    found = run("knob", "target_speedup", 1.01, Pipe(lambda t: 1 - t / 2, lambda t: math.inf))
    assert found.choice is None and found.nearest.broken


def test_an_interrupt_leaves_whole_trials_and_no_choice():
    pipe = Pipe(lambda t: 1 - t / 2, lambda t: 2 * t, stop_at=40)
    found = run("knob", "max_distance", 0.1, pipe)
    assert found.interrupted and found.choice is None
    assert [t.value for t in found.trials] == [0.1, 0.01] and all(len(t.ratios) == 3 for t in found.trials)


def test_the_other_accelerators_run_in_the_uncached_runs_too():
    found = run("fp8,knob", "target_speedup", 3, Pipe(lambda t: 1 / (1 + 10 * t), lambda t: t))
    assert [item.spec.name for item in found.subject.plain().plan.items] == ["fp8"]
    assert [item.spec.name for item in found.subject.at(0.5).plan.items] == ["fp8", "knob"]


def test_targets_and_their_words():
    assert [read_seconds(text) for text in ("6s", "0.8 s", "800ms", "6", ".5S")] == [6, 0.8, 0.8, 6, 0.5]
    for text in ("6h", "", "s", "-1s", "1e3s", "nan"):
        with pytest.raises(InputError, match=r"write seconds such as 6s, 0\.8s or 800ms"):
            read_seconds(text)
    for value in (0, -1, math.inf, math.nan):
        with pytest.raises(InputError, match=r"--max-distance .* must be above 0"):
            Target("max_distance", value)
    with pytest.raises(InputError, match="unknown target 'beauty'; valid: latency, max_distance"):
        Target("beauty", 1)
