"""The consistency term against its formula, and against Gaussian data whose consistency function is known."""

import dataclasses

import numpy as np
import paddle
import pytest
from gaussian import STUDENT, FakeNetworks, Gaussian, Linear, config, gradient, scene, uniform_grid

from fastdiffusers.distillation.grid import PhaseGrid
from fastdiffusers.distillation.networks import TARGET
from fastdiffusers.distillation.process import VariancePreserving, scaled_linear
from fastdiffusers.distillation.terms.consistency import Consistency, phase_target

DATA = Gaussian()
GRID = uniform_grid(12, 3)
N = np.array([0, 1, 3, 4, 6, 7, 9, 11])  # edges, the middle and the last level of phases
A, B, C = 0.4, -0.2, 0.3


def wide(values) -> np.ndarray:
    return np.asarray(values, np.float64)[:, None, None]


def velocity(x, level) -> np.ndarray:
    """The linear student in float64."""
    return A * x + B + C * wide(level)


def by_hand(batch) -> tuple[np.ndarray, ...]:
    """x, σ, the end s, and v* = [Δσ·ṽ + (σ' − s)·v_θ]/(σ − s), in float64 from the definition."""
    levels = GRID.levels.astype(np.float64)
    now, then, end = levels[N], levels[N + 1], levels[(N // 4 + 1) * 4]
    clean, noise = batch.clean.numpy().astype(np.float64), batch.noise.numpy().astype(np.float64)
    x = (1 - wide(now)) * clean + wide(now) * noise
    variance = (1 - now) ** 2 * DATA.s**2 + now**2
    centred = (x - wide((1 - now) * DATA.m)) / wide(variance)
    teacher = wide(now) * centred - (DATA.m + wide((1 - now) * DATA.s**2) * centred)
    nearer = x + wide(then - now) * teacher
    target = (wide(now - then) * teacher + wide(then - end) * velocity(nearer, then)) / wide(now - end)
    return x, now, end, target


def case(form: str, loss: str = "l2"):
    student = Linear(STUDENT, A, B, C)
    networks = FakeNetworks(teacher=DATA.prediction, student=student)
    batch = scene(networks, GRID, N, data=DATA)
    value, metrics = Consistency(config(form=form, loss=loss, huber_c=0.01), networks).loss(batch)
    assert metrics == {}
    value.backward()
    return float(value.item()), gradient(student.parameters), by_hand(batch)


def test_velocity_form_has_the_value_and_the_gradient_of_its_formula():
    """The target has no gradient, so that of ‖v_θ − v*‖² is 2·(v_θ − v*)·∂v_θ."""
    value, found, (x, now, _, target) = case("velocity")
    error = velocity(x, now) - target
    assert value == pytest.approx((error**2).mean(), rel=1e-4)
    expected = {"a": (2 * error * x).mean(), "b": (2 * error).mean(), "c": (2 * error * wide(now)).mean()}
    assert found == pytest.approx(expected, rel=1e-3)


def test_x_form_compares_where_the_predictions_lead():
    value, found, (x, now, end, target) = case("x")
    error = wide(end - now) * (velocity(x, now) - target)
    assert value == pytest.approx((error**2).mean(), rel=1e-4)
    slope = 2 * error * wide(end - now)
    expected = {"a": (slope * x).mean(), "b": slope.mean(), "c": (slope * wide(now)).mean()}
    assert found == pytest.approx(expected, rel=1e-3)


def test_pseudo_huber_is_taken_element_by_element():
    value, found, (x, now, _, target) = case("velocity", "huber")
    error = velocity(x, now) - target
    root = np.sqrt(error**2 + 0.01**2)
    assert value == pytest.approx((root - 0.01).mean(), rel=1e-4)
    assert found["b"] == pytest.approx((error / root).mean(), rel=1e-3)


def exact_loss(steps: int, form: str, data: Gaussian = DATA, grid: PhaseGrid | None = None) -> float:
    """The loss of the exact student, whose jumps solve the ODE."""
    grid = grid or uniform_grid(steps, 2)
    networks = FakeNetworks(teacher=data.prediction, student=data.jump(grid))
    batch = scene(networks, grid, np.arange(steps), data=data, shape=(64, 3))
    return float(Consistency(config(form=form), networks).loss(batch)[0].item())


@pytest.mark.parametrize(("form", "order"), [("x", 4), ("velocity", 3)])
def test_the_exact_students_loss_falls_with_the_solvers_order(form, order):
    """An Euler step errs by O(h²), squared O(h⁴); as a prediction over what is left of the phase, k·h, by O(h/k), and
    the mean of h²/k² over the 1/h levels is O(h³)."""
    losses = [exact_loss(steps, form) for steps in (16, 32, 64)]
    orders = np.log2(np.array(losses[:-1]) / losses[1:])
    np.testing.assert_allclose(orders, order, atol=0.35)


def test_the_same_holds_for_a_variance_preserving_process():
    data = Gaussian(process=VariancePreserving(scaled_linear()))
    losses = []
    for steps in (24, 48, 96):
        levels = np.round(np.linspace(959, -1, steps + 1)).astype(np.float32)
        losses.append(exact_loss(steps, "x", data, PhaseGrid(levels, 2)))
    assert losses[0] < 2e-4 and losses[0] > 8 * losses[1] > 64 * losses[2]


@pytest.mark.parametrize("form", ["x", "velocity"])
def test_a_student_that_is_wrong_by_a_constant_has_the_loss_of_that(form):
    """f moves by (s − σ)·δ, its target by (s − σ')·δ: they differ by δ times the solver's step, at every level."""
    steps, delta = 128, 0.5
    grid = uniform_grid(steps, 2)
    jump = DATA.jump(grid)
    wrong = FakeNetworks(teacher=DATA.prediction, student=lambda x, level, told: jump(x, level, told) + delta)
    n = np.arange(0, 32)  # far from the end, where the solver's own error is small in the velocity form as well
    found = float(Consistency(config(form=form), wrong).loss(scene(wrong, grid, n, data=DATA, shape=(64, 3)))[0].item())
    levels = grid.levels.astype(np.float64)
    step, way = levels[n] - levels[n + 1], levels[n] - levels[64]
    expected = (delta * step) ** 2 if form == "x" else (delta * step / way) ** 2
    assert found == pytest.approx(expected.mean(), rel=0.06)


def test_at_the_last_level_of_a_phase_the_target_is_the_teachers_step():
    """Whatever the student says of the edge itself, which belongs to the next phase."""
    student = Linear(STUDENT, A, B)
    networks = FakeNetworks(teacher=DATA.prediction, student=student)
    batch = scene(networks, GRID, [3, 7, 11], data=DATA)
    value, _ = Consistency(config(form="velocity"), networks).loss(batch)
    teacher = DATA.prediction(batch.x, batch.sigma)
    error = (batch.prediction - teacher).detach()
    assert float(value.item()) == pytest.approx(float((error * error).mean().item()), rel=1e-3)


def test_targets_come_from_the_averaged_student_where_there_is_one():
    student, averaged = Linear(STUDENT, A, B), Linear(TARGET, 0.1, 0.5)
    networks = FakeNetworks(teacher=DATA.prediction, student=student, target=averaged)
    batch = scene(networks, GRID, N, data=DATA)
    value, _ = Consistency(config(), networks).loss(batch)
    value.backward()
    assert [role for role, _, _ in networks.asked].count(TARGET) == 1
    following = batch.level(N + 1)
    nearer = batch.x + (following - batch.sigma).reshape([-1, 1, 1]) * DATA.prediction(batch.x, batch.sigma)
    goal = nearer + (batch.end - following).reshape([-1, 1, 1]) * (0.1 * nearer + 0.5)
    target = (goal - batch.x) / (batch.end - batch.sigma).reshape([-1, 1, 1])
    error = (batch.prediction - target).detach()
    assert float(value.item()) == pytest.approx(float((error * error).mean().item()), rel=1e-4)
    assert gradient(averaged.parameters) == {"a": 0, "b": 0, "c": 0}
    assert gradient(student.parameters)["a"] != 0


@pytest.mark.parametrize("skip", [2, 3])
def test_the_teacher_goes_some_levels_but_not_beyond_the_phase_before_the_student_jumps(skip):
    student = Linear(STUDENT, 0.1, 0.5)
    networks = FakeNetworks(teacher=DATA.prediction, student=student)
    batch = scene(networks, GRID, N, data=DATA)
    x, at = batch.x.numpy().astype(np.float64), N.copy()
    for row, n in enumerate(N):
        for _ in range(min(skip, GRID.end(n) - n)):
            one = paddle.to_tensor(x[row : row + 1].astype(np.float32))
            v = DATA.prediction(one, paddle.to_tensor(GRID.levels[at[row] : at[row] + 1])).numpy()[0]
            x[row] += (GRID.levels[at[row] + 1] - GRID.levels[at[row]]) * v
            at[row] += 1
    expected = x + (GRID.levels[GRID.end(N)] - GRID.levels[at])[:, None, None] * (0.1 * x + 0.5)
    np.testing.assert_allclose(phase_target(batch, skip).numpy(), expected, atol=1e-5)


def test_known_trajectories_stand_for_the_teacher():
    """x is the kept state, the target is led to by a later one, and the teacher is not asked; no jump at the end."""
    networks = FakeNetworks(teacher=DATA.prediction, student=Linear(STUDENT, 0.1, 0.5))
    states = np.random.default_rng(3).standard_normal((len(N), 13, 5, 3)).astype(np.float32)
    batch = scene(networks, GRID, N, data=DATA, states=states)
    rows = np.arange(len(N))
    np.testing.assert_array_equal(batch.x.numpy(), states[rows, N])
    nearer = states[rows, N + 1].astype(np.float64)
    expected = nearer + (GRID.levels[GRID.end(N)] - GRID.levels[N + 1])[:, None, None] * (0.1 * nearer + 0.5)
    np.testing.assert_allclose(phase_target(batch).numpy(), expected, atol=1e-5)
    assert {role for role, _, _ in networks.asked} == {STUDENT}
    networks.asked.clear()
    np.testing.assert_array_equal(phase_target(batch, 4).numpy(), states[rows, GRID.end(N)])
    assert not networks.asked


def test_the_teacher_is_asked_once_at_the_starting_level_and_told_its_guidance():
    networks = FakeNetworks(teacher=DATA.prediction, student=DATA.prediction)
    batch = scene(networks, GRID, N, data=DATA)
    batch.teacher = batch.teacher.told(2.0)
    Consistency(config(), networks).loss(batch)
    ((_, told, level),) = [asked for asked in networks.asked if asked[0] == "teacher"]
    assert told is batch.teacher
    np.testing.assert_array_equal(level, GRID.levels[N])
    student = [level for role, told, level in networks.asked if role == STUDENT and told is batch.student]
    np.testing.assert_array_equal(
        sorted(map(tuple, student)), sorted([tuple(GRID.levels[N]), tuple(GRID.levels[N + 1])])
    )
    assert paddle.is_grad_enabled()


def test_terms_share_a_goal_but_other_scenes_do_not():
    """It is found once for each number of levels skipped; where a drawing led is another scene."""
    networks = FakeNetworks(teacher=DATA.prediction, student=Linear(STUDENT, A, B, C))
    batch = scene(networks, GRID, N, data=DATA)
    goal = phase_target(batch)
    asked = len(networks.asked)
    assert phase_target(batch) is goal and len(networks.asked) == asked
    assert (phase_target(batch, 2) != goal).any() and len(networks.asked) > asked
    moved = dataclasses.replace(batch, n=N[::-1].copy())
    assert (phase_target(moved) != goal).any()
