"""The noise levels of a training: a solver's grid, cut into the phases that a student jumps over.

PCM (Wang et al. 2024, "Phased Consistency Models", section 3): the trajectory from noise to picture is cut at
1 = s₀ > s₁ > … > s_M = 0; within phase m the student learns to jump from any level to s_{m+1}. The edges are the
levels that M-step inference will visit, so the grid goes through the same shift as inference. No Paddle.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fastdiffusers.errors import InputError


@dataclass(frozen=True)
class PhaseGrid:
    """Levels of N solver steps in M phases.

    Attributes:
        levels: float32 ``[N + 1]``, falling from pure noise to the clean latent.
        phases: M; it divides N.
    """

    levels: np.ndarray
    phases: int

    def __post_init__(self) -> None:
        if self.steps % self.phases:
            raise InputError(
                f"solver_steps {self.steps} is no multiple of phases {self.phases}, so the phases' edges would not lie "
                f"on the grid; valid are {self.phases}, {2 * self.phases}, {3 * self.phases} …"
            )

    @property
    def steps(self) -> int:
        """N."""
        return len(self.levels) - 1

    @property
    def hop(self) -> int:
        """Solver steps of a phase, N / M."""
        return self.steps // self.phases

    @property
    def edges(self) -> np.ndarray:
        """The M + 1 edges: where M-step inference evaluates the student, and 0."""
        return self.levels[:: self.hop]

    def start(self, n: np.ndarray) -> np.ndarray:
        """Index of the edge where the phase of level ``n`` begins."""
        return n // self.hop * self.hop

    def end(self, n: np.ndarray) -> np.ndarray:
        """Index of the edge where the phase of level ``n`` ends."""
        return self.start(n) + self.hop

    def visited(self, drawn_steps: int) -> np.ndarray:
        """Indices of the levels at which a picture of ``drawn_steps`` steps meets the student; the edges for M."""
        return np.arange(drawn_steps) * self.steps // drawn_steps

    def draw(
        self, rng: np.random.Generator, count: int, edge_share: float = 0.0, drawn_steps: int | None = None
    ) -> np.ndarray:
        """Indices of starting levels, ``[count]`` in 0 … N − 1, uniform; a share of them moved to those `visited`."""
        n = rng.integers(self.steps, size=count)
        moved = rng.random(count) < edge_share
        stops = self.visited(drawn_steps or self.phases)
        return np.where(moved, stops[rng.integers(len(stops), size=count)], n)


def flow_grid(scheduler: object, tokens: int, steps: int, phases: int) -> PhaseGrid:
    """The grid of a flow-matching model for pictures of ``tokens`` tokens, shifted as ``scheduler`` would.

    ``scheduler`` is a `FlowMatchEulerDiscreteScheduler`; its state is left alone. Every N / M-th level equals, bit for
    bit, one of M-step inference.
    """
    levels = scheduler_levels(scheduler, tokens, steps)
    grid = PhaseGrid(levels, phases)
    exact = scheduler_levels(scheduler, tokens, phases)
    levels[:: grid.hop] = exact  # float32 rounding may differ in the last bit between the two lengths
    return PhaseGrid(levels, phases)


def ddim_grid(steps: int, phases: int = 1, timesteps: int = 1000) -> PhaseGrid:
    """The grid of a VP model: the timesteps that ``steps`` steps of DDIM visit, evenly from T − 1 down, and 0 at the
    end (Luo et al. 2023, "Latent Consistency Models", section 4.3; 50 steps there, so 999, 979, … 19, 0)."""
    if not 1 <= steps <= timesteps:
        raise InputError(f"solver_steps {steps} is not valid for {timesteps} timesteps; valid are 1 to {timesteps}")
    hop = timesteps // steps
    return PhaseGrid(np.append(np.arange(steps, 0, -1) * hop - 1, 0).astype(np.float32), phases)


def scheduler_levels(scheduler: object, tokens: int, steps: int) -> np.ndarray:
    """What ``scheduler`` visits in ``steps`` steps: float32 ``[steps + 1]``, 0 at the end."""
    from fastdiffusers.schedulers import FlowMatchEulerDiscreteScheduler

    own = FlowMatchEulerDiscreteScheduler(scheduler.config)  # type: ignore[attr-defined]
    own.set_image_timesteps(tokens, steps)
    return own.sigmas.copy()
