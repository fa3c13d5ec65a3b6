"""The loop that trains any `Task`: it knows optimisers, workers and files, and no method."""

from __future__ import annotations

import json
import math
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import paddle

from fastdiffusers.bench.memory import peak_memory
from fastdiffusers.errors import InputError, NumericalError
from fastdiffusers.files import atomic_write
from fastdiffusers.training import checkpoint
from fastdiffusers.training.best import Best
from fastdiffusers.training.gang import Gang, WorkerLost
from fastdiffusers.training.log import TrainingLog
from fastdiffusers.training.recipe import TrainerConfig, config_to_dict
from fastdiffusers.training.sampler import EpochSampler, share, step_rng
from fastdiffusers.training.state import TrainingState
from fastdiffusers.training.task import ParameterGroup, Step, Task

RESUME = ("auto", "never")
ENDED = "the first worker ended it"


class Interrupted(Exception):
    """Ctrl-C: a checkpoint was written; the message says how to go on."""


class Trainer:
    """Trains ``task`` in ``folder``: checkpoints/, samples/, log.jsonl, and at the end what the task exports.

    ``gang`` is None for a single process; `fastdiffusers.training.launch` makes one of several.
    """

    def __init__(self, task: Task, groups: list[ParameterGroup], folder: Path, gang: Gang | None = None) -> None:
        self.task, self.config, self.folder = task, task.config, folder
        self.groups = groups
        self.parameters = {name: value for group in groups for name, value in group.parameters.items()}
        if sum(len(group.parameters) for group in groups) != len(self.parameters):
            raise ValueError("two parameter groups share a name")
        self.gang = gang or Gang(self.parameters)
        self.leader = self.gang.rank == 0
        self.state = TrainingState(self.config, groups, self.gang)
        self.sampler = EpochSampler(task.examples, self.config.seed, self.config.group)
        self.step_index = 0
        self.bad_steps = 0
        self.skipped = 0
        self.seconds = 0.0
        self.best = Best(folder / "best.safetensors", self.config.best_by) if self.config.best_by else None
        self._memory = peak_memory(paddle.get_device().startswith("gpu"))
        self._stop = False
        self.ended = ""
        self._saved: int | None = None
        self._looked: int | None = None

    def run(self, resume: str = "auto") -> dict[str, Any]:
        """Train to the last step and export. Returns the task's figures; raises `Interrupted` after Ctrl-C."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.gang.meet()
        self._resume(resume)
        config = self.config
        old = signal.signal(signal.SIGINT, self._interrupt if self.leader else signal.SIG_IGN)
        sizes = (config.steps, config.batch, config.log_every)
        log = TrainingLog(self.folder, self.title, *sizes, quiet=not self.leader, tracker=config.tracker)
        try:
            with log:
                log.event("start", step=self.step_index, recipe=config_to_dict(config), workers=self.gang.size)
                while self.step_index < config.steps and not self.ended:
                    began = time.monotonic()
                    log.add(self.step_index, self._one_step(log))
                    self.step_index += 1
                    self.seconds += time.monotonic() - began
                    stop = bool(self.gang.share([float(self._stop)]).any())
                    # before the checkpoint: what a resumed run finds has been looked at, so that no best is missed
                    if config.sample_every and self.step_index % config.sample_every == 0:
                        self._look(log)
                        log.skip_time()
                    if stop or self.step_index % config.checkpoint_every == 0:
                        self._save()
                        log.skip_time()
                    if stop:
                        raise Interrupted(f"stopped after step {self.step_index}; the same command goes on from there")
                if self._looked != self.step_index:
                    self._look(log)
                self._save()
                return self._export(log)
        except WorkerLost as lost:
            raise WorkerLost(f"{lost}; {self._left()}") from lost
        finally:
            signal.signal(signal.SIGINT, old)

    def _left(self) -> str:
        """What there is to go on from, in words."""
        found = checkpoint.checkpoints(self.folder / "checkpoints")
        return f"the same command goes on from {str(found[-1])!r}" if found else "there is no checkpoint yet"

    @property
    def title(self) -> str:
        return type(self.task).__name__.removesuffix("Task").lower()

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        if self._stop:
            raise KeyboardInterrupt
        self._stop = True

    def _one_step(self, log: TrainingLog) -> dict[str, float]:
        """Loss and gradient of this worker's share, the sum over all, one update, unless something is not finite."""
        config, index = self.config, self.step_index
        parts = [self._backward(index * config.accumulation + part) for part in range(config.accumulation)]
        updates = parts[0][0].updates
        norm = self.state.gather_gradients(updates, parts[0][1])
        metrics = self._mean_metrics(parts)
        metrics["grad"] = norm
        if math.isfinite(metrics["loss"]) and math.isfinite(norm):
            metrics["lr"] = self.state.update(index, norm, updates)
            self.task.updated(index, frozenset(group.name for group in self.groups) if updates is None else updates)
            self._warn(log)
            self.bad_steps = 0
            return metrics
        self.state.drop_gradients()
        self.bad_steps += 1
        self.skipped += 1
        log.event("skipped", step=index + 1, loss=str(metrics["loss"]), grad=str(norm))
        if self.bad_steps >= config.max_bad_steps:
            raise NumericalError(
                f"loss or gradient was not finite in {self.bad_steps} steps in a row, the last is step {index + 1}; "
                f"try a smaller lr (it is {config.lr}) or a longer warmup_steps"
            )
        return {}

    def _backward(self, number: int) -> tuple[Step, float]:
        """Add the gradient of this worker's share of batch ``number``; the step and the share."""
        config, gang = self.config, self.gang
        rng = step_rng(config.seed, number, gang.rank)
        paddle.seed(int(rng.integers(2**31)))
        np.random.seed(int(rng.integers(2**31)))
        places = share(config.batch, config.group, gang.size, gang.rank)
        rows = self.sampler.rows(number * config.batch, config.batch)[places]
        rng = self.task.chance(number, int(places[0]), len(places)) or rng
        step = self.task.step(self.task.batch(rows, rng), self.step_index)
        factor = config.loss_scale / config.accumulation
        (step.loss if factor == 1.0 else step.loss * factor).backward()
        return step, len(rows) / config.batch

    def _mean_metrics(self, parts: list[tuple[Step, float]]) -> dict[str, float]:
        names = ["loss", *parts[0][0].metrics]
        values = np.zeros(len(names))
        for step, weight in parts:
            own = [float(step.loss.detach().item()), *map(float, step.metrics.values())]
            values += np.asarray(own) * (weight / len(parts))
        mean = self.gang.share(values.tolist()).sum(axis=0)
        return dict(zip(names, map(float, mean), strict=True))

    def _save(self) -> None:
        """Write a checkpoint; every worker writes the tensors it owns, the first one gives it its name."""
        folder = self.folder / "checkpoints"
        if self._saved == self.step_index:
            return
        if self.leader:
            checkpoint.begin(folder, self.step_index)
        self.gang.wait()
        tensors = self.state.tensors()
        if self.leader:
            tensors.update({f"buffer/{name}": value for name, value in self.task.buffers().items()})
        checkpoint.write_part(checkpoint.unfinished_path(folder, self.step_index), self.gang.rank, tensors)
        self.gang.wait()
        if self.leader:
            state = {
                "step": self.step_index,
                "position": self.step_index * self.config.accumulation * self.config.batch,
                "updates": self.state.updates,
                "skipped": self.skipped,
                "bad_steps": self.bad_steps,
                "seconds": self.seconds,
                "recipe": config_to_dict(self.config),
                "ended": self.ended,
            }
            checkpoint.finish(folder, self.step_index, state, self.config.keep_checkpoints)
        self.gang.wait()
        self._saved = self.step_index

    def _resume(self, resume: str) -> None:
        folder = self.folder / "checkpoints"
        if resume == "never":
            self.gang.wait()
            if self.leader:
                checkpoint.remove_all(folder)
                if self.best is not None:
                    self.best.forget()
            return
        found = checkpoint.checkpoints(folder)
        if not found:
            if self.leader and self.best is not None:
                self.best.forget()  # of a training that was killed early, of who knows what recipe
            return
        state = checkpoint.read_state(found[-1])
        check_same_recipe(state["recipe"], self.config, found[-1])
        if state["step"] > self.config.steps:
            raise InputError(
                f"recipe key 'steps' is {self.config.steps}, but the checkpoint {str(found[-1])!r} has made "
                f"{state['step']}; valid is at least {state['step']}, or use another --out, or --resume never"
            )
        self.step_index, self.skipped = state["step"], state["skipped"]
        self.bad_steps, self.seconds = state["bad_steps"], state["seconds"]
        self.ended = str(state.get("ended", ""))
        self.state.load(found[-1], state["updates"])
        checkpoint.load_buffers(found[-1], self.task.buffers())
        self._saved = self.step_index

    def _look(self, log: TrainingLog) -> None:
        """A picture grid and validation figures, with the averaged weights, by the first worker."""
        self._looked = self.step_index
        with self.state.averaged_weights():
            if self.leader:
                grid = self.task.sample()
                if grid is not None:
                    write_png(self.folder / "samples" / f"step-{self.step_index:08d}.png", grid)
                    log.tracker.picture(self.step_index, grid)
                figures = dict(self.task.validate())
                if figures:
                    log.event("validation", step=self.step_index, **figures)
                    log.say("validation " + " ".join(f"{name} {value:.4g}" for name, value in figures.items()))
                self._warn(log)
                if self.best is not None and self.best.offer(self.step_index, figures, self.state.averaged_parameters):
                    log.event("best", step=self.step_index, **{self.best.figure: figures[self.best.figure]})
                if self.step_index < self.config.steps and (reason := self.task.finished()):
                    self.ended = reason
                    log.event("ended", step=self.step_index, reason=reason)
                    log.say(f"ends after step {self.step_index}: {reason}")
            # everybody waits here, and knows whether the first one goes on
            if self.gang.share([float(bool(self.ended))]).any():
                self.ended = self.ended or ENDED

    def _warn(self, log: TrainingLog) -> None:
        for text in self.task.notices():
            log.event("warning", step=self.step_index, text=text)
            log.say(f"WARNING: {text}")

    def _export(self, log: TrainingLog) -> dict[str, Any]:
        figures: dict[str, Any] = {}
        peak = self._memory.peak_mb()
        peaks = self.gang.share([math.nan if peak is None else peak])[:, 0]
        with self.state.averaged_weights():
            if self.leader:
                best = {}
                if self.best is not None and self.best.path.is_file():
                    self.best.restore(self.state.averaged_parameters)
                    best = {"best_step": self.best.step, "best_value": self.best.value}
                figures = {**self.task.export(self.folder), **best}
                figures["training"] = {
                    "task": self.title,
                    "steps": self.step_index,
                    "samples": self.step_index * self.config.accumulation * self.config.batch,
                    "minutes": round(self.seconds / 60, 2),
                    "skipped_steps": self.skipped,
                    **({"ended": self.ended} if self.ended else {}),
                    "workers": self.gang.size,
                    "peak_memory_mb": [None if math.isnan(value) else round(float(value), 1) for value in peaks],
                    "recipe": config_to_dict(self.config),
                }
                with atomic_write(self.folder / "result.json") as path:
                    path.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
                log.event("end", **figures)
            self.gang.wait()
        return figures


def check_same_recipe(begun: Mapping[str, Any], config: TrainerConfig, path: Path) -> None:
    """A checkpoint goes on with the recipe it was begun with; only bookkeeping, length and workers may differ. Keys
    that there were not yet had their defaults."""
    old, new = {**config_to_dict(type(config)()), **begun}, config_to_dict(config)
    free = {"checkpoint_every", "keep_checkpoints", "sample_every", "log_every", "max_bad_steps", "steps", "tracker"}
    free.add("workers")  # whoever shared the batches: weights and moments are put together from all parts
    for name in sorted((old.keys() | new.keys()) - free):
        if old.get(name) != new.get(name):
            raise InputError(
                f"the checkpoint {str(path)!r} was made with {name}={old.get(name)!r}, now it is {new.get(name)!r}; "
                "use the same recipe, another --out, or --resume never"
            )


def write_png(path: Path, grid: np.ndarray) -> None:
    """Write uint8 ``[H, W, 3]`` as a PNG."""
    from PIL import Image

    with atomic_write(path) as temporary:
        Image.fromarray(grid).save(temporary, format="PNG")
