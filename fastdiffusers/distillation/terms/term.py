"""What a term is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import paddle

from fastdiffusers.distillation.networks import Networks
from fastdiffusers.distillation.scene import Scene
from fastdiffusers.training.task import ParameterGroup

Metrics = Mapping[str, float]


class Term(ABC):
    """A part of a loss, with the settings that its method's recipe gives it.

    Attributes:
        weight_key: the recipe key of its weight in the student's loss.
    """

    weight_key: str

    def __init__(self, config: Any, networks: Networks) -> None:
        self.config = config
        self.networks = networks
        self.weight = float(getattr(config, self.weight_key))

    @abstractmethod
    def loss(self, scene: Scene) -> tuple[paddle.Tensor, Metrics]:
        """What the student is to make small, before the weight, and numbers for the log."""

    def groups(self) -> list[ParameterGroup]:
        """The parameters of its opponent, if it has one."""
        return []

    def opponent_loss(self, scene: Scene) -> tuple[paddle.Tensor, Metrics]:
        """What the opponent is to make small. Called only for terms with `groups`."""
        raise NotImplementedError
