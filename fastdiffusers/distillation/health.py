"""How a student's pictures look beside its teacher's, in numbers, and what is said in words when they go wrong."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from fastdiffusers.metrics import pairwise_distance

LIMITS: dict[str, tuple[float, float, str]] = {
    "saturation": (0.8, 1.25, "colours {word} than the teacher's ({value:.2f}×); fewer steps, or less weight on dmd"),
    "contrast": (0.8, 1.25, "contrast {word} than the teacher's ({value:.2f}×); look at the grid"),
    "diversity": (
        0.85,
        1.3,
        "seeds are {word} than the teacher's ({value:.2f}×); adversarial, dmd and relational decide that",
    ),
}
"""Figures that `compare` gives, where they are healthy, and what to say where they are not."""
WORDS = {
    "saturation": ("paler", "louder"),
    "contrast": ("lower", "higher"),
    "diversity": ("more alike", "more different"),
}
BLIND = (0.45, 0.55)
BLIND_STEPS = 500
LAG_TURNS = 100


def compare(student: np.ndarray, teacher: np.ndarray, seeds: int) -> dict[str, float]:
    """Saturation, contrast and diversity of uint8 pictures ``[N, H, W, 3]`` relative to the teacher's.

    Saturation is the mean of max − min over the channels, contrast the standard deviation of the brightness of a
    picture, diversity the mean distance between the ``seeds`` pictures of one prompt, which lie side by side.
    """
    own, other = _looks(student, seeds), _looks(teacher, seeds)
    return {name: own[name] / max(other[name], 1e-9) for name in own}


def _looks(pictures: np.ndarray, seeds: int) -> dict[str, float]:
    values = pictures.astype(np.float64) / 255
    groups = [pictures[i : i + seeds] for i in range(0, len(pictures) - len(pictures) % seeds, seeds)] or [pictures]
    return {
        "saturation": float((values.max(axis=-1) - values.min(axis=-1)).mean()),
        "contrast": float(values.mean(axis=-1).std(axis=(1, 2)).mean()),
        "diversity": float(np.mean([pairwise_distance(group) for group in groups])) if seeds > 1 else 1.0,
    }


def warnings(figures: Mapping[str, float]) -> list[str]:
    """What is wrong with a validation's figures, in words."""
    found = []
    for name, (low, high, text) in LIMITS.items():
        value = figures.get(name)
        if value is not None and not low <= value <= high:
            found.append(text.format(word=WORDS[name][value > high], value=value))
    return found


class Blindness:
    """Notices a discriminator that has learnt nothing: right about half of the time, for very long."""

    def __init__(self) -> None:
        self.steps = 0

    def __call__(self, accuracy: float) -> str:
        """A warning at the `BLIND_STEPS`-th turn in a row, else nothing."""
        self.steps = self.steps + 1 if BLIND[0] <= accuracy <= BLIND[1] else 0
        if self.steps != BLIND_STEPS:
            return ""
        return f"the discriminator was right in {accuracy:.0%} for {BLIND_STEPS} turns: it sees no difference"


class Lag:
    """Notices a critic that does not keep up with the student: for long it denoises the student's pictures worse than
    the teacher does, so that its score is no fake score."""

    def __init__(self) -> None:
        self.mean, self.turns = 0.0, 0

    def __call__(self, gap: float) -> str:
        """Takes in the gap of one turn; a warning where its mean over about `LAG_TURNS` falls below 0, once."""
        self.turns += 1
        kept = min(1 - 1 / self.turns, 1 - 1 / LAG_TURNS)
        before, self.mean = self.mean, kept * self.mean + (1 - kept) * gap
        if self.turns < LAG_TURNS or self.mean >= 0 or (before < 0 and self.turns > LAG_TURNS):
            return ""
        return (
            f"the critic denoises the student's pictures worse than the teacher ({self.mean:.3g}): more "
            "opponent_turns, more opponent_warmup, or a larger dmd_critic_lr"
        )


class Soundness:
    """Follows whether validations are within limits, and says when too many in a row were not.

    Args:
        limit: how many in a row end the training; 0: no number does.
    """

    def __init__(self, limit: int) -> None:
        import paddle

        self.limit = limit
        self.ill = paddle.zeros([1], dtype="int64")  # a tensor, for checkpoints

    def __call__(self, step: int, sound: bool) -> float:
        """A figure that is least for the last sound validation: minus its step; infinite for one that is not sound."""
        self.ill.set_value(self.ill * 0 if sound else self.ill + 1)
        return -float(step + 1) if sound else math.inf

    @property
    def verdict(self) -> str:
        """Why the training should end, or nothing."""
        count = int(self.ill.numpy()[0])
        if not self.limit or count < self.limit:
            return ""
        return f"{count} validations in a row were out of limits (stop_after={self.limit})"
