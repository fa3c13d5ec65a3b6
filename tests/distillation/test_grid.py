"""Levels of a training: edges are those of inference, phases cover the grid, the draw is what it says."""

import numpy as np
import pytest

from fastdiffusers.distillation.grid import PhaseGrid, flow_grid, scheduler_levels
from fastdiffusers.errors import InputError
from fastdiffusers.schedulers import FlowMatchEulerDiscreteScheduler, flow_sigmas, uniform_sigmas

SHIFTED = FlowMatchEulerDiscreteScheduler(FlowMatchEulerDiscreteScheduler.Config(use_dynamic_shifting=True, shift=3.0))
PLAIN = FlowMatchEulerDiscreteScheduler(FlowMatchEulerDiscreteScheduler.Config(shift=1.5))


@pytest.mark.parametrize("scheduler", [SHIFTED, PLAIN], ids=["dynamic", "constant"])
@pytest.mark.parametrize("tokens", [16, 64, 256, 1024, 4096])
@pytest.mark.parametrize(("steps", "phases"), [(24, 4), (24, 2), (24, 1), (100, 4), (20, 4), (50, 5), (6, 6), (63, 9)])
def test_edges_are_the_levels_of_inference_bit_for_bit(scheduler, tokens, steps, phases):
    grid = flow_grid(scheduler, tokens, steps, phases)
    own = FlowMatchEulerDiscreteScheduler(scheduler.config)
    own.set_image_timesteps(tokens, phases)
    assert grid.edges.dtype == np.float32 and len(grid.edges) == phases + 1
    np.testing.assert_array_equal(grid.edges, own.sigmas)
    assert grid.levels[0] == 1 and grid.levels[-1] == 0 and (np.diff(grid.levels) < 0).all()
    own.set_image_timesteps(tokens, steps)
    np.testing.assert_allclose(grid.levels, own.sigmas, atol=2e-7)
    assert not len(scheduler.sigmas)  # the pipeline's own scheduler is left alone


def test_known_levels_of_flux_at_1024_pixels():
    """The shift of 4,096 tokens is exp(1.15); the levels are those of the document."""
    np.testing.assert_allclose(flow_grid(SHIFTED, 4096, 100, 4).edges, [1, 0.9045, 0.7595, 0.5128, 0], atol=5e-5)
    sigma, shift = 0.75, np.exp(0.4675)  # 64 tokens
    assert flow_grid(SHIFTED, 64, 24, 4).edges[1] == pytest.approx(shift / (shift + 1 / sigma - 1), abs=1e-4)


def test_every_level_belongs_to_one_phase():
    grid = PhaseGrid(np.linspace(1, 0, 13, dtype=np.float32), 3)
    n = np.arange(12)
    assert grid.hop == 4 and grid.steps == 12
    assert grid.start(n).tolist() == [0] * 4 + [4] * 4 + [8] * 4
    assert grid.end(n).tolist() == [4] * 4 + [8] * 4 + [12] * 4
    assert (grid.levels[grid.end(n)] < grid.levels[n]).all()


def test_edges_off_the_grid_are_refused():
    with pytest.raises(InputError, match=r"^solver_steps 10 is no multiple of phases 4, .*; valid are 4, 8, 12 …$"):
        PhaseGrid(np.linspace(1, 0, 11, dtype=np.float32), 4)


def test_levels_are_drawn_uniformly_and_the_share_of_edges_is_moved():
    """40,000 draws: the count of a level is known within four deviations."""
    grid, count = flow_grid(SHIFTED, 64, 24, 4), 40_000
    rng = np.random.default_rng(0)
    uniform = np.bincount(grid.draw(rng, count), minlength=25)
    assert uniform[24] == 0
    np.testing.assert_allclose(uniform[:24], count / 24, atol=4 * np.sqrt(count / 24))
    moved = np.bincount(grid.draw(rng, count, 0.5), minlength=24)
    at_edges = count * (0.5 / 24 + 0.5 / 4)
    np.testing.assert_allclose(moved[::6], at_edges, atol=4 * np.sqrt(at_edges))
    elsewhere = np.delete(moved, [0, 6, 12, 18])
    np.testing.assert_allclose(elsewhere, count * 0.5 / 24, atol=4 * np.sqrt(count * 0.5 / 24))
    assert set(grid.draw(rng, 1000, 1.0)) == {0, 6, 12, 18}


def test_a_student_that_is_drawn_in_more_steps_than_phases_is_moved_to_those():
    """LCM: one phase, four steps, at the levels of four-step inference."""
    grid = flow_grid(SHIFTED, 64, 24, 1)
    found = grid.draw(np.random.default_rng(0), 1000, 1.0, 4)
    assert set(found) == {0, 6, 12, 18}
    np.testing.assert_allclose(grid.levels[grid.visited(4)], scheduler_levels(SHIFTED, 64, 4)[:-1], atol=2e-7)
    assert set(grid.draw(np.random.default_rng(0), 100, 1.0)) == {0}
    assert grid.visited(5).tolist() == [0, 4, 9, 14, 19]  # the next level above where none fits


def test_the_draw_depends_on_its_generator_alone():
    grid = flow_grid(SHIFTED, 64, 24, 4)
    a, b = (grid.draw(np.random.default_rng(3), 50, 0.3) for _ in range(2))
    np.testing.assert_array_equal(a, b)


def test_scheduler_levels_are_a_copy():
    levels = scheduler_levels(SHIFTED, 64, 4)
    levels[:] = 7
    assert scheduler_levels(SHIFTED, 64, 4)[0] == 1


@pytest.mark.parametrize("scheduler", [SHIFTED, PLAIN], ids=["dynamic", "constant"])
def test_a_shift_of_its_own_takes_the_place_of_the_models_rule_at_every_size(scheduler):
    shifted = FlowMatchEulerDiscreteScheduler(scheduler.config.shifted(3.0))
    for tokens in (16, 4096):
        np.testing.assert_allclose(flow_grid(shifted, tokens, 8, 4).edges, [1, 0.9, 0.75, 0.5, 0], atol=1e-7)
    assert scheduler.config.shifted(None) is scheduler.config
    by_formula = flow_sigmas(uniform_sigmas(4), mu=np.log(3.0))
    np.testing.assert_allclose(scheduler_levels(shifted, 64, 4), by_formula, atol=1e-7)
