"""Numbers with their noun, for messages and tables."""

from __future__ import annotations


def counted(number: int | None, noun: str) -> str:
    """``1 run``, ``3 runs``, ``? runs``."""
    return f"{'?' if number is None else number} {noun}{'' if number == 1 else 's'}"
