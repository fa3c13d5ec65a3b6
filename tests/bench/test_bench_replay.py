"""Replay on a larger model: which decisions, what is run, what is reported."""

from types import SimpleNamespace

import pytest

from fastdiffusers.accelerator import Kind, Setting
from fastdiffusers.bench.measure import ArmResult, Sample
from fastdiffusers.bench.replay import check_replay, replay, representative
from fastdiffusers.errors import InputError
from fastdiffusers.models.info import describe
from fastdiffusers.plan import make_plan
from fastdiffusers.plugins import registry
from fastdiffusers.request import parse

INFO = describe("flux-emoji")
SETTING = Setting(steps=10, guidance=3.5, height=96, width=96)


def arm(words, *runs, steps=10):
    """An arm whose runs computed and decided as given: (computed, decisions)."""
    plan = make_plan(parse(words), registry(), INFO, SETTING)
    planned = SimpleNamespace(plan=plan, arm=SimpleNamespace(label=words))
    result = ArmResult(planned)
    for prompt, (computed, decisions) in enumerate(runs):
        stats = {"cond": {"computed": computed, "steps": 10}, "decisions": [decisions]}
        result.samples.append(Sample(prompt, 1.0, {}, None, steps, [{"stats": stats}] if words != "none" else []))
    return result


class Model:
    """Computed steps take 1 s, skipped ones 0.1 s, the first of all 5 s."""

    def __init__(self):
        self.runs = []

    def run(self, sigmas, accelerator=None, info=None):
        self.runs.append((len(sigmas), accelerator))
        if accelerator is None:
            return [1.0] * len(sigmas)
        marks = accelerator._replayed[0].split("/")
        return [5.0 if i == 0 else 1.0 if "x" in mark else 0.1 for i, mark in enumerate(marks)]


def test_the_prompt_with_the_middle_number_of_computed_steps_stands_for_all():
    varied = arm("teacache", (7, "seven"), (2, "two"), (5, "five"), (9, "nine"))
    assert representative(varied) == (2, ["five"])
    assert representative(arm("none", (10, ""))) is None


def test_times_are_medians_of_steps_that_decided_alike():
    model = Model()
    plain, cached = arm("none", (10, "")), arm("teacache:threshold=0.4", (4, "x/./x/./x/./x/././."))
    replay([plain, cached], INFO, lambda: model, {})
    # four computed at a median of 1 s, six skipped at 0.1 s; the first one's 5 s are a disturbance
    assert cached.replayed["speedup"] == pytest.approx(10 / (4 + 0.6))
    assert cached.replayed["skip_ratio"] == pytest.approx(0.1) and cached.replayed["prompt"] == 0
    assert plain.replayed == {"speedup": 1.0}
    assert [count for count, _ in model.runs] == [2, 3, 10, 3]  # warm-up, plain, the arm, plain


def test_fewer_plain_steps_are_not_run_but_divided():
    control = arm("none", (5, ""), steps=5)
    replay([arm("none", (10, "")), control], INFO, lambda: pytest.fail("nothing to run"), {})
    assert control.replayed == {"speedup": 2.0}


def test_equal_decisions_of_equal_parts_are_run_once_and_known_ones_not_at_all():
    model, kept = Model(), {}
    first, second = (arm(f"teacache:threshold={t}", (5, "x/./x/./x/./x/./x/.")) for t in (0.2, 0.3))
    other = arm("seacache", (5, "x/./x/./x/./x/./x/."))
    replay([arm("none", (10, "")), first, second, other], INFO, lambda: model, {}, kept.__setitem__)
    assert sum(accelerator is not None for _, accelerator in model.runs) == len(kept) == 2
    assert first.replayed == second.replayed
    again = arm("teacache:threshold=0.2", (5, "x/./x/./x/./x/./x/."))
    replay([arm("none", (10, "")), again], INFO, lambda: pytest.fail("known"), dict(kept))
    assert again.replayed == first.replayed


def test_a_replay_that_fails_says_so_and_is_not_kept():
    class Broken(Model):
        def run(self, sigmas, accelerator=None, info=None):
            if accelerator is not None:
                raise RuntimeError("no")
            return super().run(sigmas)

    cached, kept = arm("teacache", (1, "x/././././././././.")), {}
    replay([arm("none", (10, "")), cached], INFO, Broken, {}, kept.__setitem__)
    assert cached.replayed == {"error": "RuntimeError: no", "prompt": 0} and not kept


def test_only_flux_has_blocks_that_fit():
    assert check_replay(INFO) == (INFO.transformer["num_layers"], INFO.transformer["num_single_layers"])
    other = SimpleNamespace(family="sd3", name="x", transformer={"num_layers": 2})
    with pytest.raises(InputError, match="family 'flux', x is of 'sd3'"):
        check_replay(other)


def test_a_real_cache_decides_on_the_larger_model_as_it_is_told(monkeypatch):
    from fastdiffusers.bench import large_model

    monkeypatch.setattr(large_model, "HEADS", 1)
    monkeypatch.setattr(large_model, "SIDE", 2)
    model = large_model.LargeModel(2, 2)
    for words, marks in (("teacache:threshold=0.01", "x/./././x/././././x"), ("sortblock", "xxxx/" * 5 + "x..x/" * 5)):
        item = make_plan(parse(words), registry(), INFO, SETTING).items[0]
        assert item.spec.kind is Kind.CACHE
        cache = item.spec.load()(item.config)
        cache.replay([marks.rstrip("/")])
        seconds = model.run([1 - i / 10 for i in range(10)], cache, INFO)
        stats = cache.effect().stats
        if words.startswith("teacache"):
            assert stats["decisions"] == [marks] and stats["pattern"] == marks.replace("/", "")
        else:  # at σ = 1 and at σ ≤ 0.05 a rule computes, whatever was decided
            assert stats["decisions"][0].split("/")[6] == "x..x"
        assert len(seconds) == 10 and model.context.listeners == 0
        assert type(model.transformer.block_loop).__name__ == "BlockLoop"
