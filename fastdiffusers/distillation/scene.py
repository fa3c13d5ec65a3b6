"""One batch as the terms see it: where each example stands on the trajectory, and what the student says there."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import paddle

from fastdiffusers.distillation.grid import PhaseGrid
from fastdiffusers.distillation.networks import STUDENT, TEACHER, Conditions, Networks
from fastdiffusers.distillation.process import Process, wide
from fastdiffusers.errors import InputError

LEAST_SHARE = 0.02


@dataclass
class Scene:
    """Examples on their trajectories.

    Attributes:
        networks, process, grid: what is trained, how noise comes in, at which levels.
        clean: x₀ ``[B, S, C]``.
        noise: ε of the same shape; x_n lies between them.
        n: index of each example's level, int ``[B]``.
        teacher: what the teacher is told; guidance included.
        student: what the student is told.
        empty: what the teacher is told for true guidance (the empty caption), or None for embedded guidance.
        scale: ω of true guidance, ``[B]``, or None.
        rng: the source of all further chance in this step.
        index: the training step.
        states: the teacher's own states at the grid's levels ``[B, N + 1, S, C]``, or None.
        common: the source of chance that the whole batch has in common, over all processes; None: ``rng``.
        given: x_n, where it is neither the teacher's state nor the example with noise; else None.
        goals: where phases lead to, by the levels skipped: found once, and what several terms compare with.
    """

    networks: Networks
    process: Process
    grid: PhaseGrid
    clean: paddle.Tensor
    noise: paddle.Tensor
    n: np.ndarray
    teacher: Conditions
    student: Conditions
    empty: Conditions | None
    scale: paddle.Tensor | None
    rng: np.random.Generator
    index: int = 0
    states: np.ndarray | None = None
    common: np.random.Generator | None = None
    given: paddle.Tensor | None = None
    goals: dict[int, paddle.Tensor] = field(default_factory=dict, init=False)

    @property
    def count(self) -> int:
        """B."""
        return len(self.n)

    def level(self, indices: np.ndarray) -> paddle.Tensor:
        """The levels of grid indices, float32 ``[B]``."""
        return paddle.to_tensor(self.grid.levels[indices])

    @cached_property
    def sigma(self) -> paddle.Tensor:
        """Level n of each example."""
        return self.level(self.n)

    def kept(self, indices: np.ndarray) -> paddle.Tensor:
        """The teacher's states at grid indices ``[B]``."""
        if self.states is None:
            raise InputError("the teacher's states are not known; set trajectories=true with data=teacher")
        return paddle.to_tensor(self.states[np.arange(self.count), indices])

    @cached_property
    def start(self) -> paddle.Tensor:
        """The edge at which the phase of level n begins."""
        return self.level(self.grid.start(self.n))

    @cached_property
    def end(self) -> paddle.Tensor:
        """The edge to which the student jumps."""
        return self.level(self.grid.end(self.n))

    @cached_property
    def x(self) -> paddle.Tensor:
        """x_n: on the teacher's own trajectory where that is known, else the example with noise."""
        if self.given is not None:
            return self.given
        if self.states is not None:
            return self.kept(self.n)
        return self.process.add_noise(self.clean, self.noise, self.sigma)

    @cached_property
    def prediction(self) -> paddle.Tensor:
        """The student's prediction at x_n, with gradient."""
        return self.networks.predict(STUDENT, self.x, self.sigma, self.student)

    @cached_property
    def landing(self) -> paddle.Tensor:
        """f(x_n): where the student's jump to the end of the phase lands, with gradient."""
        return self.process.jump(self.x, self.prediction, self.sigma, self.end)

    def by_student(self, x: paddle.Tensor, level: paddle.Tensor) -> paddle.Tensor:
        """The student's prediction at any place."""
        return self.networks.predict(STUDENT, x, level, self.student)

    @paddle.no_grad()
    def by_teacher(self, x: paddle.Tensor, level: paddle.Tensor) -> paddle.Tensor:
        """The teacher's prediction with guidance, embedded or true: v(∅) + ω·(v(c) − v(∅)). No gradient."""
        told = self.networks.predict(TEACHER, x, level, self.teacher)
        if self.empty is None or self.scale is None:
            return told
        untold = self.networks.predict(TEACHER, x, level, self.empty)
        return untold + wide(self.scale, x) * (told - untold)

    def normal(self) -> paddle.Tensor:
        """Fresh noise like x₀."""
        return paddle.to_tensor(self.rng.standard_normal(tuple(self.clean.shape), dtype=np.float32))

    def between(self, low: paddle.Tensor, high: paddle.Tensor) -> paddle.Tensor:
        """A level drawn uniformly between two for each example, but for the lowest 2 %: targets divide by it."""
        share = paddle.to_tensor(self.rng.uniform(LEAST_SHARE, 1.0, self.count).astype(np.float32))
        return self.process.nearest(low + share * (high - low))
