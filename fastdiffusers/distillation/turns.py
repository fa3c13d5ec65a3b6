"""Whose turn a step is, and which terms act in it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from fastdiffusers.distillation.keys import DistillConfig


class Turn(Enum):
    """Of the opponents; of the student with all terms of its loss, or with the first alone."""

    OPPONENTS = "opponents"
    ALL = "all"
    FIRST = "first"


@dataclass(frozen=True)
class Turns:
    """The order of turns: ``warmup`` of the opponents, then rounds of ``opponents`` and ``lazy`` of the student.

    The terms beside the first act in one of the student's ``lazy`` turns, ``lazy`` times as heavy, so that a costly one
    takes less time at the same weight: Karras et al. 2020, "Analyzing and Improving the Image Quality of StyleGAN",
    section 3.1.
    """

    warmup: int
    opponents: int
    lazy: int

    @classmethod
    def of(cls, config: DistillConfig, opponents: bool) -> Turns:
        """A recipe's; ``opponents``: whether a term has any."""
        if not opponents:
            return cls(0, 0, config.lazy)
        return cls(config.opponent_warmup, config.opponent_turns, config.lazy)

    def at(self, index: int) -> Turn:
        """Whose turn step ``index`` is, from 0."""
        if index < self.warmup:
            return Turn.OPPONENTS
        place = (index - self.warmup) % (self.opponents + self.lazy) - self.opponents
        return Turn.OPPONENTS if place < 0 else Turn.ALL if place == 0 else Turn.FIRST

    def of_student(self, steps: int) -> int:
        """How many of the first ``steps`` are the student's."""
        rounds, left = divmod(max(0, steps - self.warmup), self.opponents + self.lazy)
        return rounds * self.lazy + max(0, left - self.opponents)
