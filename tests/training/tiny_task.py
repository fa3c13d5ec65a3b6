"""A task small enough for tests: fit a linear map through a hidden layer, with noise from the step's generator."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import paddle
from paddle import nn

from fastdiffusers.training.recipe import TrainerConfig, key
from fastdiffusers.training.task import ParameterGroup, Step, Task

TARGET = "tiny_task:TinyTask"


@dataclass(frozen=True)
class TinyConfig(TrainerConfig):
    width: int = key(8, "hidden width", min=1)
    delay: float = key(0.0, "seconds a step waits", min=0.0)
    nan_from: int = key(-1, "first step whose loss is NaN; -1: none")
    nan_until: int = key(10**9, "first step after it whose loss is finite again")
    chance: bool = key(True, "noise on the input, dropout on the hidden layer")
    rows: str = key("", "file for the examples of this process, step by step")


class TinyTask(Task):
    Config = TinyConfig
    config: TinyConfig

    def build(self) -> list[ParameterGroup]:
        width = self.config.width
        self.inner, self.outer = nn.Linear(4, width), nn.Linear(width, 3)
        self.dropout = nn.Dropout(0.1 if self.config.chance else 0.0)
        rng = np.random.default_rng(0)
        self.inputs = rng.standard_normal((50, 4)).astype(np.float32)
        self.targets = (self.inputs @ rng.standard_normal((4, 3))).astype(np.float32)
        self.exported = 0
        self.seen: list[list[int]] = []
        first = {f"inner.{n}": p for n, p in self.inner.named_parameters()}
        last = {f"outer.{n}": p for n, p in self.outer.named_parameters()}
        return [
            ParameterGroup("inner", first, frozenset({"inner.weight"})),
            ParameterGroup("outer", last, lr_scale=0.5, weight_decay=0.01),
        ]

    @property
    def examples(self) -> int:
        return len(self.inputs)

    def batch(self, rows: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        self.seen.append(rows.tolist())
        if self.config.rows:
            Path(self.config.rows).write_text(json.dumps(self.seen))
        noise = 0.01 * rng.standard_normal((len(rows), 4)).astype(np.float32) if self.config.chance else 0.0
        return self.inputs[rows] + noise, self.targets[rows]

    def step(self, batch: tuple[np.ndarray, np.ndarray], index: int) -> Step:
        time.sleep(self.config.delay)
        inputs, targets = batch
        error = self.predict(inputs) - paddle.to_tensor(targets)
        loss = paddle.mean(error * error)
        if self.config.nan_from >= 0 and self.config.nan_from <= index < self.config.nan_until:
            loss = loss * float("nan")
        return Step(loss, metrics={"bias": float(self.outer.bias.mean().item())})

    def predict(self, inputs: np.ndarray) -> paddle.Tensor:
        return self.outer(self.dropout(paddle.tanh(self.inner(paddle.to_tensor(inputs)))))

    def sample(self) -> np.ndarray:
        return np.zeros((4, 6, 3), dtype=np.uint8)

    def validate(self) -> dict[str, float]:
        self.dropout.eval()
        error = self.predict(self.inputs).numpy() - self.targets
        self.dropout.train()
        return {"error": float(np.square(error).mean())}

    def export(self, folder: Path) -> dict[str, float]:
        parts = (("inner", self.inner), ("outer", self.outer))
        weights = {f"{p}.{n}": v.numpy().tolist() for p, layer in parts for n, v in layer.named_parameters()}
        (folder / "weights.json").write_text(json.dumps(weights))
        return self.validate()


if __name__ == "__main__":  # python tiny_task.py FOLDER key=value … [--devices N]: what the tests kill
    from fastdiffusers.errors import UserError
    from fastdiffusers.training.launch import train
    from fastdiffusers.training.recipe import load_recipe
    from fastdiffusers.training.trainer import Interrupted

    words, devices = sys.argv[2:], None
    if "--devices" in words:
        devices = int(words.pop(words.index("--devices") + 1))
        words.remove("--devices")
    try:
        train(TARGET, load_recipe(TinyConfig, None, words), Path(sys.argv[1]), devices=devices)
    except Interrupted as stopped:
        print(f"interrupted: {stopped}")
        sys.exit(130)
    except UserError as error:
        print(f"error: {type(error).__name__}: {error}")
        sys.exit(2)
