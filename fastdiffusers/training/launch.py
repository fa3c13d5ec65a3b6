"""Starts a training: alone, or as the first of several worker processes."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import subprocess
import sys
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import paddle

from fastdiffusers.errors import InputError, PluginError
from fastdiffusers.training.gang import Gang
from fastdiffusers.training.recipe import TrainerConfig, build_config, config_to_dict
from fastdiffusers.training.reserve import reserved
from fastdiffusers.training.task import ParameterGroup, Task
from fastdiffusers.training.tracker import check_tracker
from fastdiffusers.training.trainer import Trainer

SECONDS_TO_END = 10.0
SHARED_MEMORY = Path("/dev/shm")


@dataclass(frozen=True)
class Job:
    """A training for another process: the task's "module:Class", its recipe, where, how, and whose worker it is."""

    target: str
    recipe: dict[str, Any]
    folder: str
    resume: str
    gang: str = ""
    rank: int = 0
    parent: int = 0


def load_task(target: str) -> type[Task]:
    """The class named by "module:Class"."""
    module, _, name = target.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise PluginError(f"the task {target!r} cannot be loaded: {error}") from error


def build(target: str, recipe: dict[str, Any]) -> tuple[Task, list[ParameterGroup]]:
    """The task and its parameters, the same bits in every process."""
    cls = load_task(target)
    config = build_config(cls.Config, recipe)
    if config.workers > config.batch:
        raise InputError(
            f"recipe key 'workers' is {config.workers}; valid is at most {config.batch}, the examples of a batch"
        )
    task = cls(config)
    paddle.seed(task.config.seed)
    return task, task.build()


def train(target: str, config: TrainerConfig, folder: Path, resume: str = "auto") -> dict[str, Any]:
    """Train the task named ``target`` by ``config`` in ``folder``; returns the figures that it exports with.

    Raises `InputError` for a folder that cannot be written or in which another training runs, `MissingDependency` for a
    tracker that is not installed.
    """
    check_tracker(config.tracker)
    recipe = config_to_dict(config)
    with reserved(folder):
        task, groups = build(target, recipe)
        if config.workers == 1:
            return Trainer(task, groups, folder).run(resume)
        others: list[subprocess.Popen[bytes]] = []
        gang, path = _lead(groups, config.workers, folder, lambda: all(other.poll() is None for other in others))
        try:
            for rank in range(1, config.workers):
                others.append(_start(Job(target, recipe, str(folder), resume, str(path), rank, os.getpid())))
            return Trainer(task, groups, folder, gang).run(resume)
        finally:
            path.unlink(missing_ok=True)
            _end(others)


def work(job: Job) -> None:
    """What a worker process other than the first does."""
    task, groups = build(job.target, job.recipe)
    gang = _gang(groups, job.rank, task.config.workers, Path(job.gang), lambda: os.getppid() == job.parent)
    Trainer(task, groups, Path(job.folder), gang).run(job.resume)


def _end(workers: list[subprocess.Popen[bytes]]) -> None:
    """Let the workers end by themselves, as they do after the last step, Ctrl-C and errors of all; kill the others.

    Not by SIGTERM: Paddle's handler for it can wait for ever when it comes while the process is ending anyway.
    """
    for worker in workers:
        try:
            worker.wait(timeout=SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            worker.kill()
            worker.wait()


def _lead(groups: list[ParameterGroup], size: int, folder: Path, alive: Callable[[], bool]) -> tuple[Gang, Path]:
    """The first worker and the gang's file: in memory where that has room (a container may give it little)."""
    name = f"fastdiff-{uuid.uuid4().hex}"
    with contextlib.suppress(OSError):
        return _gang(groups, 0, size, SHARED_MEMORY / name, alive), SHARED_MEMORY / name
    try:
        return _gang(groups, 0, size, folder / name, alive), folder / name
    except OSError as error:
        raise InputError(
            f"cannot write what {size} workers share, neither in {str(SHARED_MEMORY)!r} nor in {str(folder)!r}: "
            f"{error.strerror or error}; make room or use workers=1"
        ) from None


def _gang(groups: list[ParameterGroup], rank: int, size: int, path: Path, alive: Callable[[], bool]) -> Gang:
    parameters = {name: value for group in groups for name, value in group.parameters.items()}
    return Gang(parameters, rank, size, path, alive)


def _start(job: Job) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-m", "fastdiffusers.training.worker", json.dumps(job.__dict__)]
    return subprocess.Popen(command, env=environment, start_new_session=True)
