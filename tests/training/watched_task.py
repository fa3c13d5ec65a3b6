"""The tiny task with all that a task may offer beside: buffers, updates, notices, a figure with a least value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import paddle
from tiny_task import TinyConfig, TinyTask

from fastdiffusers.training.recipe import key
from fastdiffusers.training.task import Step

TARGET = "watched_task:WatchedTask"


@dataclass(frozen=True)
class WatchedConfig(TinyConfig):
    best_step: int = key(12, "the step after which the figure is least")
    crash_at: int = key(-1, "the step that ends in an error; -1: none")
    turns: bool = key(False, "the two groups take turns, the outer one first")


class Crash(Exception):
    """Ends a training as a kill would: nothing is saved."""


class WatchedTask(TinyTask):
    Config = WatchedConfig
    config: WatchedConfig
    crash_at: int | None = None  # in place of the recipe's, so that a resumed training has the same recipe

    def build(self):
        self.seen: list[tuple[int, frozenset[str]]] = []
        self.count = paddle.zeros([2])
        self.at = 0
        self.said: list[str] = []
        return super().build()

    def step(self, batch, index: int) -> Step:
        if index == (self.config.crash_at if self.crash_at is None else self.crash_at):
            raise Crash
        found = super().step(batch, index)
        if not self.config.turns:
            return found
        return Step(found.loss, frozenset({("outer", "inner")[index % 2]}), found.metrics)

    def buffers(self) -> Mapping[str, paddle.Tensor]:
        return {"seen.count": self.count}

    def updated(self, index: int, groups: frozenset[str]) -> None:
        self.at = index + 1
        self.seen.append((index, groups))
        self.count.set_value(self.count + paddle.to_tensor([1.0, 0.5 * index]))
        if index % 10 == 3:
            self.said.append(f"step {self.at} was odd")

    def notices(self) -> list[str]:
        found, self.said = self.said, []
        return found

    def validate(self) -> dict[str, float]:
        return {**super().validate(), "distance": float(abs(self.at - self.config.best_step))}
