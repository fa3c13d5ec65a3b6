"""The best static mask for a number of computed steps, for the forecast that it will be used with.

Masks from several beginnings are improved in the open loop (see `OpenLoop`), which takes seconds. Then the beginnings
and the results are really drawn, all prompts as one batch, and the best is improved by moving single steps by one. So
the mask found is never worse than an even one, or one that is dense at the front. Chance has no part in it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdiffusers.caching.estimators import RESIDUAL, Taylor
from fastdiffusers.errors import InputError, PluginError
from fastdiffusers_caching.masks import Schedule
from fastdiffusers_caching.open_loop import OpenLoop

Mask = tuple[int, ...]
Latents = NDArray[np.float64]
FRONTS = (1, 2, 3, 4, 5)  # of how many steps computed at the beginning a search sets out


def spread(budget: int, steps: int, front: int = 1) -> Mask:
    """``budget`` of ``steps`` steps: ``front`` ones at the beginning, the others as evenly as they go."""
    rest = budget - front
    return (*range(front), *(front + round((i + 0.5) * (steps - front) / rest - 0.5) for i in range(rest)))


def improve(
    mask: Mask, steps: int, error: Callable[[Mask], float], reach: int | None = None, rounds: int = 20
) -> tuple[Mask, float]:
    """Move the computed steps of ``mask``, all but step 0, to where ``error`` is least; returns mask and error.

    ``reach`` is how far one may be moved at once, None: anywhere; ``rounds`` how often all are gone through.
    """
    best = error(mask)
    for _ in range(rounds):
        before = best
        for step in mask[1:]:
            others = set(mask) - {step}
            near = range(1, steps) if reach is None else range(max(1, step - reach), min(steps, step + reach + 1))
            for moved in [tuple(sorted(others | {place})) for place in near if place not in others and place != step]:
                if (found := error(moved)) < best:
                    mask, best = moved, found
        if best == before:
            break
    return mask, best


def search(
    pipe: Any,
    prompts: Sequence[str],
    budget: int,
    steps: int,
    progress: Callable[[int], None],
    order: int = 0,
    damping: float = 1.0,
    rounds: int = 1,
) -> tuple[Schedule, float]:
    """The schedule found on ``pipe`` and the mean relative L1 error of its latents over ``prompts``.

    ``order`` and ``damping`` are those of ``static``; ``rounds`` of moves are drawn at the end. ``progress(n)`` is told
    the number of masks drawn.
    """
    if not 1 <= budget < steps:
        raise InputError(f"budget {budget} is not valid for {steps} steps; it must be from 1 to {steps - 1}")
    if pipe.context.session is not None:
        raise PluginError("calibrate on a pipeline without attached accelerators; detach the session first")
    drawn = _Drawn(pipe, prompts, steps, f"order={order}:damping={damping:g}" if order else "order=0", progress)
    estimator = lambda: Taylor(RESIDUAL, order, damping=damping)  # noqa: E731
    loop = drawn.loop
    loop = loop.grown({step: drawn.square(_without(step, steps)) for step in loop.probes()}, estimator)
    begun = [spread(budget, steps, front) for front in FRONTS if front == 1 or front < budget]
    ended = [improve(mask, steps, lambda mask: loop.error(mask, estimator))[0] for mask in begun]
    best = min(dict.fromkeys([*ended, *begun]), key=drawn.error)
    mask, least = improve(best, steps, drawn.error, reach=1, rounds=rounds)
    return Schedule(frozenset(mask), steps), least


def _without(step: int, steps: int) -> Mask:
    return tuple(other for other in range(steps) if other != step)


class _Drawn:
    """What masks really cost: each is drawn once."""

    def __init__(
        self, pipe: Any, prompts: Sequence[str], steps: int, options: str, progress: Callable[[int], None]
    ) -> None:
        self.pipe, self.prompts, self.steps = pipe, list(prompts), steps
        self.options, self.progress = options, progress
        self.known: dict[Mask, Latents] = {}
        self.loop = self._uncached()

    def error(self, mask: Mask) -> float:
        """Mean over the pictures of the relative L1 error of the latents, mean|a − b| / mean|b|."""
        change, plain = np.abs(self._change(mask)), np.abs(self.plain)
        return float((change.mean(axis=1) / plain.mean(axis=1)).mean())

    def square(self, mask: Mask) -> float:
        """Root mean square over the pictures of the relative L2 error, as `OpenLoop.error` foretells it."""
        change, plain = self._change(mask) ** 2, self.plain**2
        return float(np.sqrt((change.sum(axis=1) / plain.sum(axis=1)).mean()))

    def _change(self, mask: Mask) -> Latents:
        from fastdiffusers.session import accelerate

        if mask not in self.known:
            words = f"static:force=true:mask={'/'.join(map(str, mask))}:{self.options}"
            with accelerate(self.pipe, words, steps=self.steps):
                self.known[mask] = self._draw() - self.plain
            self.progress(len(self.known))
        return self.known[mask]

    def _draw(self) -> Latents:
        out = self.pipe(self.prompts, seed=0, num_inference_steps=self.steps, output_type="latent")
        return np.asarray(out.latents, np.float64).reshape(len(self.prompts), -1)

    def _uncached(self) -> OpenLoop:
        from fastdiffusers.recorder import Recorder

        velocities: list[Latents] = []
        sigmas: list[float] = []
        forward = self.pipe.transformer.forward

        def watched(*inputs: Any, **named: Any) -> Any:
            out = forward(*inputs, **named)
            velocities.append(out.astype("float32").numpy().astype(np.float64))
            sigmas.append(self.pipe.context.sigma)
            return out

        recorder = Recorder(self.pipe, self.pipe.context)
        try:
            recorder.patch(self.pipe.transformer, "forward", watched)
            self.plain = self._draw()
        finally:
            recorder.undo()
        return OpenLoop.of(sigmas, np.stack(velocities), self.plain)
