"""Every allowed combination is run: each accelerator in it engages, and the detach is exact."""

from dataclasses import replace
from pathlib import Path

import pytest
from fake_together import FAKES, IDLE

import fastdiffusers
from fastdiffusers.composition import Composition
from fastdiffusers.errors import PluginError
from fastdiffusers.plugins import Registry, registry
from fastdiffusers.testing import tiny_flux, try_together

STEPS = 10


@pytest.fixture(scope="module")
def tiny():
    return tiny_flux()


def among(pipe, *specs):
    found = Registry()
    found.accelerators.update({one.name: one for one in specs})
    return Composition(found, pipe.info, replace(pipe.info.default_setting, steps=STEPS))


def haste():
    import fastdiff_sample_haste

    return fastdiff_sample_haste.HASTE


@pytest.fixture(autouse=True)
def sample(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent / "sample_plugin"))


@pytest.mark.slow
def test_each_pair_and_triple_of_every_kind_runs_or_is_refused(tiny):
    found = registry().accelerators
    some = [found[name] for name in ("teacache", "dbcache", "sortblock")]
    composition = among(tiny, *some, *FAKES, haste())
    trials = list(try_together(tiny, composition.together))
    assert [trial.failure for trial in trials if trial.failure] == []
    ran = {frozenset(trial.names) for trial in trials}
    assert ran == {frozenset(one.names) for one in composition.together if one.goes}
    for names in (
        {"fused", "teacache"},
        {"haste", "teacache"},
        {"blockwise", "dbcache"},
        {"rounded", "blockwise", "sortblock"},
        {"nine-steps", "rounded", "teacache"},
        {"haste", "blockwise", "teacache"},
        {"four-steps", "rounded", "fused"},
    ):
        assert names in ran
    for names in ({"haste", "dbcache"}, {"fused", "sortblock"}, {"four-steps", "dbcache"}):
        assert names not in ran
    distilled = next(trial for trial in trials if set(trial.names) == {"nine-steps", "teacache"})
    assert distilled.records[1].stats["cond"]["steps"] == 9


@pytest.mark.slow
def test_each_pair_and_triple_of_the_installed_ones_runs():
    """On the embedded model, for which the README tells what goes together."""
    pipe = fastdiffusers.load("flux-emoji")
    setting = replace(pipe.info.default_setting, steps=STEPS)
    composition = Composition(registry(), pipe.info, setting)
    trials = list(try_together(pipe, composition.together))
    assert [trial.failure for trial in trials if trial.failure] == []
    assert len(trials) == sum(some.goes for some in composition.together)


def test_what_has_no_effect_or_leaves_a_trace_is_a_failure(tiny):
    from fake_accelerators import LeaksAttribute, spec

    leaky = spec(LeaksAttribute, "leaky", claims=frozenset())
    done = []
    composition = among(tiny, IDLE, FAKES[2], leaky)
    trials = {frozenset(trial.names): trial for trial in try_together(tiny, composition.together, done.append)}
    assert done == list(range(1, len(composition.together) + 1))
    idle = trials[frozenset({"idle", "rounded"})]
    assert idle.failure == "idle had no effect: NO EFFECT: 0 calls of what was compiled"
    assert [record.name for record in idle.records] == ["rounded", "idle"]
    assert "left_behind" in trials[frozenset({"leaky", "rounded"})].failure
    content = idle.to_dict()
    assert content["ran"] is False and [record["engaged"] for record in content["records"]] == [True, False]
    del tiny.scheduler.left_behind


def test_an_attach_that_fails_is_a_failure(tiny):
    from fake_accelerators import RaisesAfterPatching, spec

    broken = spec(RaisesAfterPatching, "broken", claims=frozenset())
    (trial,) = try_together(tiny, among(tiny, broken, FAKES[2]).together)
    assert "attach raised: accelerator 'broken' failed to attach: KeyError" in trial.failure
    with pytest.raises(PluginError):
        fastdiffusers.accelerate(tiny, "broken", plugins=_only(broken))
    assert tiny.context.session is None


def _only(spec):
    found = Registry()
    found.accelerators[spec.name] = spec
    return found
