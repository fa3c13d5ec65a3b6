"""What consistency training converges to: the teacher's solver, whole phases at a time."""

import numpy as np
import paddle
from gaussian import STUDENT, FakeNetworks, Gaussian, config, scene

from fastdiffusers.distillation.grid import PhaseGrid
from fastdiffusers.distillation.terms.consistency import Consistency
from fastdiffusers.training.adamw import AdamW

DATA, STEPS = Gaussian(), 8
GRID = PhaseGrid(np.linspace(1, 0, STEPS + 1).astype(np.float32), 2)


class Table:
    """v = a_n·x + b_n: an affine student with coefficients for every level."""

    def __init__(self) -> None:
        self.a, self.b = (paddle.to_tensor(np.zeros(STEPS, np.float32), stop_gradient=False) for _ in range(2))

    def __call__(self, x, level, told):
        at = np.argmin(np.abs(GRID.levels[None] - level.numpy()[:, None]), axis=1).clip(max=STEPS - 1)
        rows = paddle.to_tensor(at)
        return self.a[rows].reshape([-1, 1, 1]) * x + self.b[rows].reshape([-1, 1, 1])


def solver() -> tuple[np.ndarray, np.ndarray]:
    """The affine velocities with which one jump lands where the Euler steps to the end of the phase do."""
    levels = GRID.levels.astype(np.float64)
    one, zero = paddle.ones([1, 1]), paddle.zeros([1, 1])
    a, b = np.zeros(STEPS), np.zeros(STEPS)
    for n in range(STEPS):
        scale, shift = 1.0, 0.0
        end = int(GRID.end(np.array(n)))
        for k in range(n, end):
            level = paddle.to_tensor(GRID.levels[k : k + 1])
            offset = float(DATA.prediction(zero, level).item())
            slope = float(DATA.prediction(one, level).item()) - offset
            factor = 1 + (levels[k + 1] - levels[k]) * slope
            scale, shift = factor * scale, factor * shift + (levels[k + 1] - levels[k]) * offset
        a[n], b[n] = (scale - 1) / (levels[end] - levels[n]), shift / (levels[end] - levels[n])
    return a, b


def test_training_converges_to_the_solver_over_whole_phases():
    student, adamw = Table(), AdamW()
    networks = FakeNetworks(teacher=DATA.prediction, student=student)
    networks.parameters[STUDENT] = {"a": student.a, "b": student.b}
    term = Consistency(config(form="velocity"), networks)
    count = 500
    for step in range(count):
        loss, _ = term.loss(scene(networks, GRID, np.arange(STEPS), data=DATA, shape=(32, 2), seed=step))
        loss.backward()
        gradients = {name: value.grad for name, value in networks.parameters[STUDENT].items()}
        with paddle.no_grad():
            adamw.update(networks.parameters[STUDENT], gradients, 0.05 * (1 - step / count), 0.0)
        for value in networks.parameters[STUDENT].values():
            value.clear_gradient(False)
    a, b = solver()
    np.testing.assert_allclose(student.a.numpy(), a, atol=0.02)
    np.testing.assert_allclose(student.b.numpy(), b, atol=0.02)
    assert np.ptp(a) > 0.3  # and that is no constant
