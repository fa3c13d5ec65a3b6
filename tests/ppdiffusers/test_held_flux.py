"""A FluxPipeline of a newer ppdiffusers, by a stand-in with its structure and calls; ppdiffusers is not needed."""

import numpy as np
import pytest
from flux_stand_in import FluxPipeline, draw_with

import fastdiffusers
from fastdiffusers.errors import PlanError, PluginError
from fastdiffusers.testing import check_accelerator
from fastdiffusers.testing.snapshot import Snapshot

CALL = {"prompt": "a red apple", "seed": 1, "num_inference_steps": 12, "height": 64, "width": 64}
SPEC = "teacache:coefficients=identity:threshold=0.1"


@pytest.fixture
def pipe():
    return FluxPipeline()


def test_it_is_recognised_and_its_record_says_how_far_that_was_tested(pipe):
    draw = draw_with(pipe)
    with fastdiffusers.accelerate(pipe, SPEC, steps=12) as session:
        assert "interface-tested" in session.report()[0].reason
        draw(**CALL)
        record = session.report()[0]
    assert record.engaged and "interface-tested" in record.reason
    assert session.pipe.info.family == "ppdiffusers-flux" and session.pipe.context.grid == (4, 4)
    assert session.pipe.context.steps == 12


@pytest.mark.parametrize(
    "spec", [SPEC, "fbcache:threshold=0.5", "taylorseer:mode=module", "sortblock", "seacache", "blockdance"]
)
def test_presets_run_and_the_pipeline_is_given_back_as_it_was(pipe, spec):
    draw = draw_with(pipe)
    draw(**CALL)
    plain = draw(**CALL)
    before = Snapshot(pipe)
    with fastdiffusers.accelerate(pipe, spec, steps=12) as session:
        names = [name for name, _ in pipe.transformer.named_parameters()]
        draw(**CALL)
        assert session.report()[0].engaged
    changed = {path for path in before.changes(Snapshot(pipe, before)) if "scheduler" not in path}
    assert changed == set()
    assert names == [name for name, _ in pipe.transformer.named_parameters()]
    assert np.array_equal(draw(**CALL), plain)


@pytest.mark.parametrize("spec", ["teacache:coefficients=identity:threshold=0", "fbcache:threshold=0", "none"])
def test_never_skipping_gives_the_same_bits(pipe, spec):
    draw = draw_with(pipe)
    plain = draw(**CALL)
    with fastdiffusers.accelerate(pipe, spec, steps=12):
        assert np.array_equal(draw(**CALL), plain)


@pytest.mark.parametrize(
    ("name", "options"),
    [("teacache", {"coefficients": "identity", "threshold": "0.1"}), ("sortblock", {}), ("taylorseer", {})],
)
def test_the_contract_holds(pipe, name, options):
    report = check_accelerator(name, pipe, options, draw=draw_with(pipe))
    assert {"leaves no trace", "failed attach is rolled back", "branches do not mix"} <= set(report.checks)


def test_a_negative_prompt_is_a_branch_of_its_own(pipe):
    with fastdiffusers.accelerate(pipe, SPEC, steps=12) as session:
        draw_with(pipe)(**CALL, negative_prompt="dog", true_cfg_scale=2.0)
        stats = session.report()[0].stats
    assert stats["cond"]["steps"] == stats["uncond"]["steps"] == 12


def test_one_session_at_a_time_and_a_refusal_leaves_nothing(pipe):
    with (
        fastdiffusers.accelerate(pipe, SPEC, steps=12),
        pytest.raises(PlanError, match="has a session attached already"),
    ):
        fastdiffusers.accelerate(pipe, "seacache")
    before = Snapshot(pipe)
    with pytest.raises(PlanError, match="teacache has no coefficients"):
        fastdiffusers.accelerate(pipe, "teacache")
    assert before.changes(Snapshot(pipe, before)) == {}


def test_what_would_have_no_effect_cannot_be_set(pipe):
    with fastdiffusers.accelerate(pipe) as session:
        view = session.pipe.transformer
        assert view.layer is pipe.transformer and view.proj_out is pipe.transformer.proj_out
        with pytest.raises(AttributeError, match="'forward' would have no effect here; set it on `layer`"):
            view.forward = None


def test_a_third_evaluation_in_a_step_is_refused(pipe):
    network = pipe.transformer
    with fastdiffusers.accelerate(pipe, SPEC, steps=12), pytest.raises(PluginError, match="more than twice a step"):
        step = pipe.scheduler.step
        pipe.scheduler.step = lambda *args, **kwargs: (args[2],)  # never told that a step is over
        try:
            draw_with(pipe)(**CALL)
        finally:
            pipe.scheduler.step = step
    assert "forward" not in vars(network)


@pytest.mark.parametrize("bar", [True, False])
def test_the_generation_is_over_after_its_last_step(pipe, bar):
    if not bar:
        pipe.progress_bar = None
    draw = draw_with(pipe)
    with fastdiffusers.accelerate(pipe, SPEC, steps=12) as session:
        draw(**CALL)
        assert not session.pipe.context.active
        generation = session.pipe.context.generation
        draw(**CALL)
        assert session.pipe.context.generation == generation + 1
