"""Networks whose predictions are known exactly: data x₀ ~ N(m, s²), element by element.

Flow matching: x_σ has mean (1 − σ)·m and variance (1 − σ)²·s² + σ². The posterior means of x₀ and ε are linear in x,
the exact velocity is their difference, and the probability-flow ODE keeps (x − mean)/deviation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import paddle

from fastdiffusers.distillation.grid import PhaseGrid
from fastdiffusers.distillation.keys import DistillConfig
from fastdiffusers.distillation.networks import CRITIC, STUDENT, TEACHER, Conditions, Networks
from fastdiffusers.distillation.process import FlowMatching, Process, wide
from fastdiffusers.distillation.scene import Scene

Predict = Callable[[paddle.Tensor, paddle.Tensor, Conditions], paddle.Tensor]


@dataclass(frozen=True)
class Gaussian:
    """N(m, s²) under a noise process."""

    m: float = 0.3
    s: float = 0.7
    process: Process = field(default_factory=FlowMatching)

    def moments(self, level: Any) -> tuple[Any, Any]:
        """Mean and variance at ``level``."""
        a, b = self.process.alpha(level), self.process.beta(level)
        return a * self.m, a * a * self.s**2 + b * b

    def clean(self, x: Any, level: Any) -> Any:
        """E[x₀ | x]."""
        mean, variance = (wide(part, x) for part in self.moments(level))
        return self.m + wide(self.process.alpha(level), x) * self.s**2 / variance * (x - mean)

    def noise(self, x: Any, level: Any) -> Any:
        """E[ε | x]."""
        mean, variance = (wide(part, x) for part in self.moments(level))
        return wide(self.process.beta(level), x) / variance * (x - mean)

    def prediction(self, x: Any, level: Any, told: Any = None) -> Any:
        """What an ideal network says: E[ε − x₀ | x] for flows, E[ε | x] for VP."""
        noise = self.noise(x, level)
        return noise - self.clean(x, level) if isinstance(self.process, FlowMatching) else noise

    def solution(self, x: Any, level: Any, end: Any) -> Any:
        """Where the probability-flow ODE leads from ``level`` to ``end``."""
        (mean, variance), (there, then) = self.moments(level), self.moments(end)
        return wide(there, x) + wide((then / variance) ** 0.5, x) * (x - wide(mean, x))

    def jump(self, grid: PhaseGrid) -> Predict:
        """The perfect student: the prediction that leads exactly to the end of the phase."""

        def predict(x: paddle.Tensor, level: paddle.Tensor, told: Conditions) -> paddle.Tensor:
            at = np.argmin(np.abs(grid.levels[None] - level.numpy()[:, None]), axis=1)
            end = paddle.to_tensor(grid.levels[grid.end(np.minimum(at, grid.steps - 1))])
            found = self.process.prediction_between(x, level, self.solution(x, level, end), end)
            # at the last level of all there is no way left, and so no prediction
            return paddle.where(paddle.isfinite(found), found, paddle.zeros_like(found))

        return predict


class Linear:
    """v = a·x + b + c·σ with trainable a, b and c: a student (or critic) whose gradients can be written down."""

    def __init__(self, role: str, a: float, b: float, c: float = 0.0) -> None:
        self.parameters = {}
        for name, value in (("a", a), ("b", b), ("c", c)):
            self.parameters[f"{role}.{name}"] = paddle.to_tensor(np.float32(value), stop_gradient=False)
        self.a, self.b, self.c = self.parameters.values()

    def __call__(self, x: paddle.Tensor, level: paddle.Tensor, told: Conditions) -> paddle.Tensor:
        return self.a * x + self.b + self.c * wide(level, x)


class FakeNetworks:
    """Networks as terms use them: a function for each role, and features that are functions of x."""

    def __init__(self, channels: int = 3, features: Callable[..., list[paddle.Tensor]] | None = None, **roles: Any):
        self.roles = roles
        self.parameters = {name: role.parameters for name, role in roles.items() if isinstance(role, Linear)}
        self.depth = 4
        self.channels = channels
        self.asked: list[tuple[str, Any, np.ndarray]] = []  # role, what it was told, level
        self._features = features
        self.added: dict[str, Any] = {}

    def predict(self, role: str, x: paddle.Tensor, level: paddle.Tensor, told: Conditions) -> paddle.Tensor:
        self.asked.append((role, told, level.numpy()))
        return self.roles[role](x, level, told)

    def add_adapter(self, role: str, rank: int, alpha: float | None = None, seed: int = 0) -> Any:
        self.added[role] = (rank, alpha, seed)
        return self.parameters.setdefault(role, {})

    def places(self, shares: Any) -> tuple[int, ...]:
        return Networks.places(self, shares)  # type: ignore[arg-type]

    def widths(self, blocks: tuple[int, ...]) -> list[int]:
        return [self.channels] * len(blocks)

    def features(
        self, x: paddle.Tensor, level: paddle.Tensor, told: Conditions, blocks: tuple[int, ...], role: str = TEACHER
    ) -> list[paddle.Tensor]:
        self.asked.append(("features", told, level.numpy()))
        if self._features is not None:
            return self._features(x, level, blocks)
        return [(k + 1.0) * x + paddle.sin(x * x) for k in range(len(blocks))]


def told(count: int, guidance: float | None = None) -> Conditions:
    """Conditions that say nothing but a guidance."""
    value = None if guidance is None else paddle.full([count], guidance, dtype="float32")
    return Conditions(paddle.zeros([count, 1, 1]), paddle.zeros([count, 1]), value, ())


def uniform_grid(steps: int = 12, phases: int = 3) -> PhaseGrid:
    """Levels of a flow without shift."""
    return PhaseGrid(np.linspace(1, 0, steps + 1).astype(np.float32), phases)


def scene(
    networks: Any,
    grid: PhaseGrid,
    n: Any,
    *,
    data: Gaussian | None = None,
    shape: tuple[int, ...] = (5, 3),
    seed: int = 0,
    **changes: Any,
) -> Scene:
    """A batch of draws from ``data`` at the levels ``n``."""
    data = data or Gaussian()
    n = np.asarray(n)
    rng = np.random.default_rng(seed)
    size = (len(n), *shape)
    clean = paddle.to_tensor((data.m + data.s * rng.standard_normal(size)).astype(np.float32))
    noise = paddle.to_tensor(rng.standard_normal(size).astype(np.float32))
    conditions = told(len(n))
    values = {
        "networks": networks,
        "process": data.process,
        "grid": grid,
        "clean": clean,
        "noise": noise,
        "n": n,
        "teacher": conditions,
        "student": conditions,
        "empty": None,
        "scale": None,
        "rng": np.random.default_rng(seed + 1),
    }
    return Scene(**{**values, **changes})


def config(*terms: str, **changes: Any) -> DistillConfig:
    """A recipe of ``terms``; an l2 loss unless said otherwise."""
    return DistillConfig(
        **{"terms": terms or ("consistency",), "loss": "l2", "solver_steps": 12, "phases": 3, **changes}
    )


def gradient(parameters: dict[str, paddle.Tensor]) -> dict[str, float]:
    """Gradients by the last part of the name; 0 where there is none. They are forgotten."""
    found = {}
    for name, value in parameters.items():
        found[name.rpartition(".")[2]] = 0.0 if value.grad is None else float(value.grad.item())
        value.clear_gradient(False)
    return found


__all__ = [
    "CRITIC",
    "STUDENT",
    "TEACHER",
    "FakeNetworks",
    "Gaussian",
    "Linear",
    "config",
    "gradient",
    "scene",
    "told",
    "uniform_grid",
]
