"""What the trainer asks of a task: parameters, examples, a loss, pictures to look at, and a result to keep."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fastdiffusers.training.recipe import TrainerConfig

if TYPE_CHECKING:
    import paddle


@dataclass(frozen=True)
class ParameterGroup:
    """Trainable tensors with one optimiser setting.

    Args:
        name: what `Step.updates` calls the group ("model", "student", "critic").
        parameters: tensors by unique name; names are the keys of the checkpoint.
        muon: those of ``parameters`` that Muon updates (hidden matrices and convolutions); AdamW takes the others.
        lr_scale: factor on the recipe's learning rate.
        weight_decay: overrides the recipe's.
        beta1: overrides the recipe's β1 of AdamW.
        averaged: whether the moving average takes the group in; opponents have none.
    """

    name: str
    parameters: Mapping[str, paddle.Tensor]
    muon: frozenset[str] = frozenset()
    lr_scale: float = 1.0
    weight_decay: float | None = None
    beta1: float | None = None
    averaged: bool = True


@dataclass(frozen=True)
class Step:
    """One training step's outcome.

    Args:
        loss: scalar to differentiate, a mean over this worker's share of the batch.
        updates: names of the parameter groups that take the step; None means all of them.
        metrics: numbers for the log, averaged over the workers.
    """

    loss: paddle.Tensor
    updates: frozenset[str] | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)


class Task(ABC):
    """One thing that can be trained. Built once in every worker process, from its configuration alone.

    ``Config`` is the recipe: a `TrainerConfig` subclass whose fields are the keys of its YAML file.
    """

    Config: type[TrainerConfig]

    def __init__(self, config: Any) -> None:
        self.config = config

    @abstractmethod
    def build(self) -> list[ParameterGroup]:
        """Make the networks (after `paddle.seed` with the recipe's seed) and name what is trained."""

    @property
    @abstractmethod
    def examples(self) -> int:
        """How many examples there are; valid after `build`."""

    @abstractmethod
    def batch(self, rows: np.ndarray, rng: np.random.Generator) -> Any:
        """The examples ``rows``. All chance (augmentation, captions, noise) comes from ``rng``."""

    @abstractmethod
    def step(self, batch: Any, index: int) -> Step:
        """The loss of a batch at step ``index``."""

    @abstractmethod
    def export(self, folder: Path) -> dict[str, Any]:
        """Write the trained result into ``folder`` (weights are the EMA's) and return figures about it."""

    def chance(self, batch: int, first: int, count: int) -> Any:
        """The ``rng`` for the examples ``first`` … ``first + count`` − 1 of batch number ``batch``; None: one for each
        process, so that results depend on their number."""
        return None

    def finished(self) -> str:
        """Why the training should end before its last step, or nothing. Asked after every validation, of the first
        worker."""
        return ""

    def buffers(self) -> Mapping[str, paddle.Tensor]:
        """Tensors that are not trained but belong into a checkpoint, by unique name; set in place when resuming."""
        return {}

    def updated(self, index: int, groups: frozenset[str]) -> None:  # noqa: B027 (most tasks have nothing to do here)
        """Called after the update of step ``index``, which took in ``groups``; the same in every worker."""

    def notices(self) -> list[str]:
        """What the user should be warned of since the last call, in words. Asked after every step and validation."""
        return []

    def validate(self) -> Mapping[str, float]:
        """Figures on held-out data, with the EMA's weights; logged with every picture grid and at the end."""
        return {}

    def sample(self) -> np.ndarray | None:
        """A picture grid, uint8 ``[H, W, 3]``, drawn with the EMA's weights; None if there is nothing to see."""
        return None

    def describe(self) -> list[str]:
        """Lines for ``--dry-run``: what is built, of what size, from which data."""
        return []
