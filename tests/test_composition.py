"""What goes together, decided by the plan: every pair and triple, and the few rows that tell it."""

from dataclasses import replace
from itertools import combinations

import pytest
from fake_accelerators import spec
from fake_pipe import SETTING, FakeInfo
from fake_together import FAKES, FOUR_STEPS

from fastdiffusers.accelerator import Kind
from fastdiffusers.composition import Composition, Row
from fastdiffusers.errors import PlanError
from fastdiffusers.models.info import describe
from fastdiffusers.plan import Refusal, make_plan, parse
from fastdiffusers.plugins import Registry, registry

INFO = describe("flux-emoji")


def composition(*specs, info=INFO, setting=INFO.default_setting, **more):
    found = Registry()
    found.accelerators.update({one.name: one for one in specs})
    return Composition(found, info, setting, **more)


def installed(*more):
    return [*registry().accelerators.values(), *more]


def caches(kind):
    return tuple(sorted(name for name, one in registry().accelerators.items() if kind in one.tags))


@pytest.fixture(scope="module")
def with_fakes():
    return composition(*(one for one in installed() if "cache" in one.tags), *FAKES)


def test_every_pair_and_triple_is_decided(with_fakes):
    names = sorted(with_fakes.specs)
    wanted = [frozenset(some) for size in (2, 3) for some in combinations(names, size)]
    assert [frozenset(some.names) for some in with_fakes.alone] == [{name} for name in with_fakes.specs]
    assert sorted(map(sorted, wanted)) == sorted(sorted(some.names) for some in with_fakes.together)
    assert all(some.goes for some in with_fakes.alone)


def test_each_is_what_a_plan_of_the_same_words_says(with_fakes):
    found = Registry()
    found.accelerators.update(with_fakes.specs)
    for some in with_fakes.together:
        trials = [f"{name}:{with_fakes.specs[name].trial}".rstrip(":") for name in some.names]
        for words in (",".join(trials), ",".join(reversed(trials))):
            plan = make_plan(parse(words), found, INFO, INFO.default_setting)
            if some.goes:
                plan.check()
                assert some.names == tuple(item.spec.name for item in plan.items)
            else:
                with pytest.raises(PlanError):
                    plan.check()


def test_two_caches_never_go_together(with_fakes):
    some = with_fakes.of("seacache", "fbcache")
    assert not some.goes and some.refusal.cause == "claim blocks"
    assert with_fakes.shared() == {
        ("blocks",): tuple(sorted((*caches("whole-stack"), *caches("per-block")))),
        ("graph",): ("blockwise", "fused"),
        ("scheduler", "steps"): ("four-steps", "nine-steps"),
    }


def test_what_refuses_a_combination_is_named(with_fakes):
    assert with_fakes.of("fused", "fbcache").refusal.cause == "conflict fused-loop"
    few = with_fakes.of("four-steps", "teacache").refusal
    assert (few.name, few.cause) == ("teacache", "prediction") and "at 4 steps gains little" in few.reason
    assert with_fakes.of("fbcache", "blockwise").names == ("blockwise", "fbcache")
    assert with_fakes.of("teacache", "nine-steps", "rounded").names == ("nine-steps", "rounded", "teacache")
    content = with_fakes.of("fused", "fbcache").to_dict()
    assert content["goes"] is False and content["cause"] == "conflict fused-loop" and "fused-loop" in content["reason"]
    assert with_fakes.of("fused", "teacache").to_dict() == {"accelerators": ["fused", "teacache"], "goes": True}


def test_few_rows_tell_it_all(with_fakes):
    whole, walking = caches("whole-stack"), caches("per-block")
    every = tuple(sorted((*whole, *walking)))
    rows = with_fakes.rows()
    few = with_fakes.of("four-steps", "teacache").refusal.reason.removeprefix("teacache ")
    assert rows == [
        Row(("four-steps",), ("rounded", "blockwise", "fused")),
        Row(("nine-steps",), ("rounded", "blockwise", "fused", *every)),
        Row(("rounded",), ("blockwise", "fused", *every)),
        Row(("blockwise",), every),
        Row(("fused",), whole),
        Row(("four-steps",), every, Refusal("", few, "prediction")),
        Row(("fused",), walking, Refusal("", "", "conflict fused-loop")),
    ]
    assert with_fakes.exceptions() == []


def test_those_of_which_the_same_is_true_share_a_row():
    found = composition(*(replace(FAKES[2], name=name, claims=frozenset({name})) for name in ("a", "b")), FAKES[0])
    assert found.rows() == [Row(("a",), ("b", "fused")), Row(("b",), ("fused",))]
    one_claim = [replace(FAKES[2], name=name, claims=frozenset({"x"})) for name in ("a", "b")]
    assert composition(*one_claim, FAKES[0]).rows() == [Row(("a", "b"), ("fused",))]


def test_a_triple_is_told_when_it_does_not_follow_from_its_pairs():
    """The schedule goes with each, but two of them leave too few steps; a third kind makes up for too few."""

    def to(steps):
        def predict(config, info, setting):
            changed = replace(setting, steps=steps(setting.steps))
            return replace(FOUR_STEPS.predict(config, info, setting), setting=changed)

        return predict

    halves = [
        replace(FOUR_STEPS, name=f"half-{i}", claims=frozenset({f"half-{i}"}), predict=to(lambda n: n // 2))
        for i in (1, 2)
    ]
    seacache, setting = registry().accelerators["seacache"], replace(INFO.default_setting, steps=20)
    found = composition(*halves, seacache, setting=setting)
    assert all(found.of(*pair).goes for pair in combinations(("half-1", "half-2", "seacache"), 2))
    (told,) = found.exceptions()
    assert set(told.names) == {"half-1", "half-2", "seacache"} and "at 5 steps" in told.refusal.reason
    longer = replace(FOUR_STEPS, name="longer", kind=Kind.SCHEDULE, claims=frozenset(), predict=to(lambda n: 4 * n))
    found = composition(FOUR_STEPS, longer, seacache, setting=setting)
    assert not found.of("four-steps", "seacache").goes
    (told,) = found.exceptions()
    assert told.goes and told.names == ("four-steps", "longer", "seacache")


def test_what_is_refused_alone_is_told_once():
    needy = replace(FAKES[2], name="needy", requires=frozenset({"unet"}))
    found = composition(needy, FAKES[0], FAKES[3])
    (alone,) = [some for some in found.alone if not some.goes]
    assert alone.names == ("needy",) and alone.refusal.cause == "requires unet"
    assert found.rows() == [Row(("four-steps",), ("fused",))]


def test_wishes_in_a_circle_are_a_refusal_too():
    one = spec(name="one", claims=frozenset(), before=frozenset({"two"}))
    two = spec(name="two", claims=frozenset({"x"}), kind=Kind.COMPILE, before=frozenset({"one"}))
    found = composition(one, two, info=FakeInfo(), setting=SETTING)
    assert found.of("one", "two").refusal.cause == "order"
    assert "no order satisfies all of" in found.rows()[0].refusal.reason


def test_the_installed_ones_all_stand_alone_on_the_embedded_model(monkeypatch, tmp_path):
    """With their trial options, but for those that want an adapter or a package; no combination has these."""
    monkeypatch.setenv("FASTDIFFUSERS_HOME", str(tmp_path))
    found = Composition(registry(), INFO, INFO.default_setting, sizes=())
    refused = [some for some in found.alone if not some.goes and "pip install" not in some.refusal.reason]
    assert [some.names[0] for some in refused if "train one" not in some.refusal.reason] == []
    assert {registry().accelerators[some.names[0]].kind for some in refused} <= {Kind.DISTILL}
