"""Distances between a prediction and its target, computed in float32."""

from __future__ import annotations

from typing import Any

LOSSES = ("huber", "l2")


def distance(kind: str, a: Any, b: Any, c: float) -> Any:
    """Mean over all elements of the pseudo-Huber distance √(δ² + c²) − c (Song & Dhariwal 2023, section 3.3, here
    elementwise), or of δ²."""
    delta = a.astype("float32") - b.astype("float32")
    if kind == "l2":
        return (delta * delta).mean()
    return ((delta * delta + c * c).sqrt() - c).mean()


def number(value: Any) -> float:
    """A scalar tensor as a number for the log."""
    return float(value.item())
