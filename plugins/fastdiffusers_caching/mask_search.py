"""The best static mask for a number of computed steps: a greedy search against uncached latents.

It starts from evenly spaced steps and moves one computed step at a time to wherever between its neighbours the mean
error over the prompts falls most, until no move helps. A mask costs as many evaluations as it computes steps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdiffusers.errors import InputError, PluginError
from fastdiffusers_caching.masks import Schedule

Latents = NDArray[np.float32]


def even(budget: int, steps: int) -> tuple[int, ...]:
    """``budget`` of ``steps`` steps as evenly as they go, the first one among them."""
    return tuple(sorted({round(i * steps / budget) for i in range(budget)}))


def improve(
    mask: tuple[int, ...], steps: int, error: Callable[[tuple[int, ...]], float], rounds: int = 3
) -> tuple[tuple[int, ...], float]:
    """Move the computed steps of ``mask``, all but step 0, to where ``error`` is least; returns mask and error."""
    best = error(mask)
    for _ in range(rounds):
        before = best
        for i in range(1, len(mask)):
            low, high = mask[i - 1] + 1, mask[i + 1] if i + 1 < len(mask) else steps
            for place in range(low, high):
                moved = (*mask[:i], place, *mask[i + 1 :])
                if place != mask[i] and (found := error(moved)) < best:
                    mask, best = moved, found
        if best == before:
            break
    return mask, best


def search(
    pipe: Any, prompts: Sequence[str], budget: int, steps: int, progress: Callable[[int], None], rounds: int = 3
) -> tuple[Schedule, float]:
    """The schedule found on ``pipe`` and the mean relative L1 error of its latents over ``prompts``.

    ``progress(n)`` is told the number of masks tried.
    """
    if not 1 <= budget < steps:
        raise InputError(f"budget {budget} is not valid for {steps} steps; it must be from 1 to {steps - 1}")
    if pipe.context.session is not None:
        raise PluginError("calibrate on a pipeline without attached accelerators; detach the session first")
    plain = _draw(pipe, prompts, steps)
    known: dict[tuple[int, ...], float] = {}

    def error(mask: tuple[int, ...]) -> float:
        if mask not in known:
            from fastdiffusers.session import accelerate

            with accelerate(pipe, f"static:force=true:mask={'/'.join(map(str, mask))}", steps=steps):
                found = _draw(pipe, prompts, steps)
            errors = [np.abs(a - b).mean() / np.abs(b).mean() for a, b in zip(found, plain, strict=True)]
            known[mask] = float(np.mean(errors))
            progress(len(known))
        return known[mask]

    mask, least = improve(even(budget, steps), steps, error, rounds)
    return Schedule(frozenset(mask), steps), least


def _draw(pipe: Any, prompts: Sequence[str], steps: int) -> list[Latents]:
    return [
        np.asarray(pipe(prompt, seed=i, num_inference_steps=steps, output_type="latent").latents, np.float64)
        for i, prompt in enumerate(prompts)
    ]
