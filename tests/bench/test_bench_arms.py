"""Reading arms, ordering them, and what a bare bench compares."""

import pytest
from scripted import SETTING, Info, registry

from fastdiffusers.bench import Workload, installed_arms, order_arms, parse_arm, plan_arm
from fastdiffusers.errors import InputError, PlanError, UserError


@pytest.mark.parametrize(
    ("text", "label", "steps", "names"),
    [
        ("none", "none", None, []),
        ("none@14", "none@14", 14, []),
        ("fast", "fast", None, ["fast"]),
        ("fast:x=0.4,compiled@8", "fast:x=0.4,compiled@8", 8, ["fast", "compiled"]),
        ("lightning:adapter=/a@b/c", "lightning:adapter=/a@b/c", None, ["lightning"]),
    ],
)
def test_an_arm_is_read_and_written_alike(text, label, steps, names):
    arm = parse_arm(text)
    assert (arm.label, arm.steps, [request.name for request in arm.requests]) == (label, steps, names)
    assert parse_arm(arm.label) == arm


@pytest.mark.parametrize("text", ["none@", "none@0", "none@many", "fast@-1", "", "fast,", "fast:x", "none,fast", "@4"])
def test_what_is_no_arm_is_refused_in_one_line(text):
    with pytest.raises(UserError) as failure:
        parse_arm(text)
    assert "\n" not in str(failure.value)


def labels(*words):
    return [arm.label for arm in order_arms(parse_arm(word) for word in words)]


def test_the_baseline_comes_first_and_is_added_when_absent():
    assert labels("fast", "none", "idle") == ["none", "fast", "idle"]
    assert labels("fast") == ["none", "fast"]
    assert labels() == ["none"]
    assert labels("none@5") == ["none", "none@5"]


def test_the_same_arm_twice_is_refused():
    with pytest.raises(InputError, match="'fast' is given twice"):
        labels("fast", "fast")


def test_steps_of_an_arm_reach_its_plan():
    planned = plan_arm(parse_arm("fast@6"), registry(), Info(), SETTING)
    assert planned.plan.setting.steps == 6
    assert not planned.owns_steps
    assert plan_arm(parse_arm("four-steps"), registry(), Info(), SETTING).owns_steps


@pytest.mark.parametrize("text", ["unknown", "fast:x=1", "fast,idle", "needy"])
def test_a_refused_arm_is_named(text):
    with pytest.raises(PlanError, match=f"arm '{text}': "):
        plan_arm(parse_arm(text), registry(), Info(), SETTING)


def test_a_bare_bench_takes_what_can_engage_and_says_what_it_left_out():
    arms, left_out = installed_arms(registry("fast", "needy", "modest"), Info(), SETTING)
    assert [arm.label for arm in arms] == ["fast"]
    assert {item.name: item.reason for item in left_out} == {
        "modest": "would not engage: its threshold is too low",
        "needy": "it needs 'wings', which fake does not offer (it offers: blocks)",
    }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prompts": ()}, "at least one prompt"),
        ({"runs": 0}, "runs must be at least 1, got 0"),
    ],
)
def test_a_workload_without_work_is_refused(change, message):
    with pytest.raises(InputError, match=message):
        Workload(**{"prompts": ("a",), "setting": SETTING, **change})
