"""Where a generation stands: the pipeline writes it, accelerators read it.

A cache must never guess that a new picture has begun (from a timestep or a counter): img2img, an interrupted run or a
changed number of steps would then reuse another picture's state. The pipeline says so, here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from fastdiffusers.errors import InputError

COND = "cond"
UNCOND = "uncond"
BRANCHES = (COND, UNCOND)


class StepContext:
    """The step, branch and sigma of the running generation.

    Attributes:
        generation: number of generations begun, this one included; 0 before the first.
        active: True between `begin` and `end`.
        branch: ``"cond"`` or ``"uncond"`` (the negative prompt of true CFG).
        step: index into ``sigmas``, in sampling order.
        steps: number of steps that will be computed (img2img: those that are left by ``strength``).
        sigmas: noise level of each step, falling; the terminal 0, at which nothing is computed, is left out.
        sigma: noise level of the present step.
        grid: rows and columns of the image tokens; None when the pipeline does not say.
        ranks: the process group (``paddle.distributed``) whose ranks draw each picture together, by tensor or sequence
            parallelism; who sets them up sets it. They then take their decisions together. None: alone, as ranks do
            that draw different pictures.
        session: the attached session, if any; set by it.
    """

    def __init__(self) -> None:
        self.generation = 0
        self.active = False
        self.branch = COND
        self.step = 0
        self.steps = 0
        self.sigmas: tuple[float, ...] = ()
        self.grid: tuple[int, int] | None = None
        self.ranks: Any = None
        self.session: Any = None
        self._shape: tuple[int, ...] | None = None
        self._last_step: dict[str, int] = {}
        self._begin_callbacks: list[Callable[[], None]] = []
        self._end_callbacks: list[Callable[[], None]] = []

    @property
    def sigma(self) -> float:
        """Noise level of the present step; 0.0 outside a generation."""
        return self.sigmas[self.step] if self.active else 0.0

    def begin(
        self, sigmas: Sequence[float], shape: Sequence[int] | None = None, grid: tuple[int, int] | None = None
    ) -> None:
        """Start a generation: every state of an earlier one, finished or interrupted, is dropped.

        ``sigmas``: noise levels in sampling order, with or without the terminal 0. ``shape``: shape of the latents.
        ``grid``: rows and columns of the image tokens.
        """
        levels = tuple(float(sigma) for sigma in sigmas)
        if levels and levels[-1] == 0.0:
            levels = levels[:-1]
        if not levels:
            raise InputError("a generation needs at least one sigma above 0, got none")
        self.sigmas = levels
        self.steps = len(levels)
        self.grid = grid
        self._shape = None if shape is None else tuple(shape)
        self._restart()

    def at(self, step: int, branch: str = COND, shape: Sequence[int] | None = None) -> None:
        """Say which step of which branch comes next. ``shape`` of the latents may be given as a further guard.

        A step before its branch's last one, or another shape, cannot belong to the same picture: the state is dropped
        as by `begin`.
        """
        if not self.active:
            raise InputError("StepContext.at was called outside a generation; call begin first")
        if branch not in BRANCHES:
            raise InputError(f"unknown branch {branch!r}; valid: {', '.join(BRANCHES)}")
        if not 0 <= step < self.steps:
            raise InputError(f"step {step} does not exist; this generation has steps 0 to {self.steps - 1}")
        changed = shape is not None and self._shape is not None and tuple(shape) != self._shape
        if changed or step < self._last_step.get(branch, 0):
            self._restart()
        if shape is not None:
            self._shape = tuple(shape)
        self.step = step
        self.branch = branch
        self._last_step[branch] = step

    def end(self) -> None:
        """Finish the generation; states are released. Harmless when none is running."""
        was_active = self.active
        self.active = False
        self.branch = COND
        if was_active:
            for callback in tuple(self._end_callbacks):
                callback()

    def on_begin(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call ``callback()`` whenever a generation begins; returns the function that takes it away again."""
        return _register(self._begin_callbacks, callback)

    def on_end(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call ``callback()`` whenever a generation ends; returns the function that takes it away again."""
        return _register(self._end_callbacks, callback)

    @property
    def listeners(self) -> int:
        """How many callbacks are registered: none when nothing is attached."""
        return len(self._begin_callbacks) + len(self._end_callbacks)

    def _restart(self) -> None:
        self.generation += 1
        self.active = True
        self.step = 0
        self.branch = COND
        self._last_step = {}
        for callback in tuple(self._begin_callbacks):
            callback()


def _register(callbacks: list[Callable[[], None]], callback: Callable[[], None]) -> Callable[[], None]:
    def entry() -> None:  # an object of its own, so that one function registered twice is removed once
        callback()

    callbacks.append(entry)

    def remove() -> None:
        if entry in callbacks:
            callbacks.remove(entry)

    return remove
