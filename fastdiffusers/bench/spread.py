"""Medians, paired ratios and whether a difference can be told from noise."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Any

_SIGN_TEST_FROM = 6  # with fewer pairs even a unanimous sign test stays above 0.05
_LEVEL = 0.05
NOISY = 1.25


def spread(values: Sequence[float]) -> dict[str, Any] | None:
    """Median, smallest, largest and number of ``values``; None without any."""
    if not values:
        return None
    return {"median": statistics.median(values), "min": min(values), "max": max(values), "n": len(values)}


def distinguishable(ratios: Sequence[float]) -> bool | None:
    """Whether paired ratios (baseline / arm, one per round) show a difference at all; None for fewer than two.

    Up to 5 pairs all must lie on one side of 1; from 6 on a two-sided sign test at 5 % decides, so that a single
    stalled run among many does not. Pairs of one round share prompt and moment; the bare ranges of two arms do not.
    """
    if len(ratios) < 2:
        return None
    faster, slower = sum(ratio > 1 for ratio in ratios), sum(ratio < 1 for ratio in ratios)
    n = faster + slower
    if len(ratios) < _SIGN_TEST_FROM:
        return max(faster, slower) == len(ratios)
    return n > 0 and min(1.0, 2 * _tail(min(faster, slower), n)) <= _LEVEL


def noisiest(samples: Sequence[tuple[int, float]]) -> float:
    """Largest max / min among the times of one prompt, from pairs (prompt, seconds); 1 when nothing was repeated."""
    prompts = {prompt for prompt, _ in samples}
    times = [[seconds for other, seconds in samples if other == prompt] for prompt in prompts]
    return max((max(group) / min(group) for group in times if min(group) > 0), default=1.0)


def _tail(k: int, n: int) -> float:
    """P(X ≤ k) for X binomial with n fair trials."""
    return sum(math.comb(n, i) for i in range(k + 1)) / 2**n
