"""What every arm of a bench has to do: the same prompts, seeds and setting."""

from __future__ import annotations

import math
from dataclasses import dataclass

from fastdiffusers.accelerator import Setting
from fastdiffusers.errors import InputError


@dataclass(frozen=True)
class Workload:
    """Prompts drawn under one setting, ``runs`` times over.

    Attributes:
        prompts: one picture each; prompt i is drawn with seed ``seed + i``.
        setting: steps, guidance and size.
        runs: how often all prompts are drawn; a round is one prompt by every arm, so there are runs × prompts rounds.
        seed: of the first prompt.
        warmup_steps: sampling steps of the untimed run between an attach and its timed run.
    """

    prompts: tuple[str, ...]
    setting: Setting
    runs: int = 3
    seed: int = 0
    warmup_steps: int = 2

    def __post_init__(self) -> None:
        if not self.prompts:
            raise InputError("a bench needs at least one prompt, got none")
        if self.runs < 1:
            raise InputError(f"runs must be at least 1, got {self.runs}")
        if self.setting.steps < 1:
            raise InputError(f"steps must be at least 1, got {self.setting.steps}")
        if not 0 <= self.setting.guidance < math.inf:
            raise InputError(f"guidance must be a number of at least 0, got {self.setting.guidance}")

    @property
    def rounds(self) -> int:
        """Number of timed rounds."""
        return self.runs * len(self.prompts)

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seed of each prompt."""
        return tuple(self.seed + index for index in range(len(self.prompts)))
