from itertools import permutations

import pytest
from fake_accelerators import spec

from fastdiffusers.accelerator import Kind
from fastdiffusers.errors import PlanError
from fastdiffusers.ordering import order


def names(*specs):
    return [found.name for found, _ in order(specs)]


def test_kinds_decide_and_the_order_of_asking_does_not():
    specs = [spec(name=kind.value, kind=kind) for kind in Kind]
    for some in (specs, specs[::-1], specs[3:] + specs[:3]):
        assert names(*some) == ["distill", "quantize", "schedule", "compile", "cache", "offload"]


def test_a_wish_beats_the_kind_and_is_given_as_reason():
    early = spec(name="early", kind=Kind.OFFLOAD, before=frozenset({"compile"}))
    late = spec(name="late", kind=Kind.DISTILL, after=frozenset({"slow"}))
    middle = spec(name="middle", kind=Kind.COMPILE, tags=frozenset({"slow"}))
    for some in permutations([early, late, middle]):
        found = order(some)
        assert [one.name for one, _ in found] == ["early", "middle", "late"]
    reasons = {one.name: reason for one, reason in found}
    assert reasons["early"] == "offload has place 5 from the inside; early goes before compile (middle)"
    assert "late goes after slow (middle)" in reasons["late"]


def test_wishes_chain():
    a = spec(name="a", after=frozenset({"b"}))
    b = spec(name="b", after=frozenset({"c"}))
    assert names(a, b, spec(name="c")) == ["c", "b", "a"]


def test_a_wish_about_nobody_is_no_wish():
    assert names(spec(name="a", after=frozenset({"nobody"}))) == ["a"]


def test_a_circle_is_refused_with_the_wishes_in_it():
    a, b = spec(name="a", before=frozenset({"b"})), spec(name="b", before=frozenset({"a"}))
    with pytest.raises(PlanError, match=r"no order satisfies all of: a goes before b; b goes before a"):
        order([a, b, spec(name="c")])
