"""Starts a training: alone, or as the first of several worker processes."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import paddle

from fastdiffusers.errors import InputError, PluginError
from fastdiffusers.training.gang import Gang, WorkerLost
from fastdiffusers.training.ranks import Place, RankGang, check_ranks, join, launched, on_this_machine, placed
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
    if config.workers > config.parts:
        what = "examples" if config.group == 1 else f"groups of {config.group} examples"
        raise InputError(
            f"recipe key 'workers' is {config.workers}; valid is at most {config.parts}, the {what} of a batch"
        )
    task = cls(config)
    paddle.seed(task.config.seed)
    return task, task.build()


def train(
    target: str, config: TrainerConfig, folder: Path, resume: str = "auto", devices: int | None = None
) -> dict[str, Any]:
    """Train the task named ``target`` by ``config`` in ``folder``; returns the figures that it exports with.

    Several processes share each batch in one of two ways: as ``config.workers`` of this machine, through its memory; or
    as ranks, one for each of ``devices``, or as many as a launcher started. Ranks take the place of workers.

    Raises `InputError` for a folder that cannot be written or in which another training runs, `MissingDependency` for a
    tracker that is not installed, `WorkerLost` where another process ends early.
    """
    check_tracker(config.tracker)
    recipe = config_to_dict(config)
    if (place := launched()) is not None:
        if devices is not None:
            raise InputError(f"a launcher has started {place.size} processes already; leave out --devices {devices}")
        check_ranks(place.size, config)
        return _train_rank(target, recipe, folder, resume, place)
    if devices is not None and devices > 1:
        check_ranks(devices, config)
        return _train_on(devices, target, recipe, folder, resume)
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


def _train_on(size: int, target: str, recipe: dict[str, Any], folder: Path, resume: str) -> dict[str, Any]:
    """The first of ``size`` ranks on this machine, which starts the others when it has built, and so prepared, all."""
    places = on_this_machine(size)
    others: list[subprocess.Popen[bytes]] = []
    with reserved(folder):
        task, groups = build(target, recipe)
        try:
            for place in places[1:]:
                job = Job(target, recipe, str(folder), resume, rank=place.rank, parent=os.getpid())
                others.append(_start(job, place.variables()))
            with placed(places[0]):
                meeting = join(places[0], lambda: all(other.poll() is None for other in others))
                return Trainer(task, groups, folder, RankGang(_named(groups), places[0], meeting)).run(resume)
        finally:
            _end(others)


def _train_rank(target: str, recipe: dict[str, Any], folder: Path, resume: str, place: Place) -> dict[str, Any]:
    """One rank of several that a launcher started. The first builds, and so prepares, before the others meet it."""
    signal.signal(signal.SIGTERM, _ended_by_launcher)
    if place.rank:
        meeting = join(place)
        task, groups = build(target, recipe)
        return Trainer(task, groups, folder, RankGang(_named(groups), place, meeting)).run(resume)
    with reserved(folder):
        task, groups = build(target, recipe)
        return Trainer(task, groups, folder, RankGang(_named(groups), place, join(place))).run(resume)


def _ended_by_launcher(number: int, frame: FrameType | None) -> None:
    """A launcher ends all processes when one of them has ended early."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise WorkerLost("the launcher ended this process, as it does when another one ended early")


def work(job: Job) -> None:
    """What a worker process other than the first does."""
    if (place := launched()) is not None:
        _train_rank(job.target, job.recipe, Path(job.folder), job.resume, place)
        return
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
    return Gang(_named(groups), rank, size, path, alive)


def _named(groups: list[ParameterGroup]) -> dict[str, paddle.Tensor]:
    return {name: value for group in groups for name, value in group.parameters.items()}


def _start(job: Job, variables: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
    environment = {**os.environ, **(variables or {}), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-m", "fastdiffusers.training.worker", json.dumps(job.__dict__)]
    return subprocess.Popen(command, env=environment, start_new_session=True)
