"""Processes that a launcher started: which one this is, how they find each other, and what they tell each other.

Paddle's launcher says all of it in environment variables; ``fastdiff … --devices`` sets the same ones. The processes
(ranks) talk by gloo on CPU and by NCCL on GPU. What they do together is what the workers of a `Gang` do through shared
memory; here it goes over the network, so that it works across devices and machines.
"""

from __future__ import annotations

import contextlib
import io
import os
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import paddle

from fastdiffusers.errors import InputError
from fastdiffusers.training.gang import Gang, WorkerLost
from fastdiffusers.training.meeting import Meeting
from fastdiffusers.training.recipe import TrainerConfig


@dataclass(frozen=True)
class Place:
    """Rank ``rank`` of ``size``; ``endpoints`` are the addresses of all."""

    rank: int
    size: int
    endpoints: tuple[str, ...]

    def variables(self) -> dict[str, str]:
        """What Paddle's launcher would say to this rank."""
        found = {
            "PADDLE_TRAINER_ID": str(self.rank),
            "PADDLE_TRAINERS_NUM": str(self.size),
            "PADDLE_TRAINER_ENDPOINTS": ",".join(self.endpoints),
            "PADDLE_CURRENT_ENDPOINT": self.endpoints[self.rank],
        }
        if paddle.is_compiled_with_cuda():
            found["FLAGS_selected_gpus"] = str(self.rank)
        return found


def launched(environment: Mapping[str, str] | None = None) -> Place | None:
    """Where a launcher has put this process; None where there is none, or only one process.

    Raises `InputError` for variables that contradict each other.
    """
    given = os.environ if environment is None else environment
    if "PADDLE_TRAINERS_NUM" not in given:
        return None
    numbers = {}
    for name in ("PADDLE_TRAINERS_NUM", "PADDLE_TRAINER_ID"):
        text = given.get(name, "")
        if not text.isdecimal():
            raise InputError(f"the launcher's variable {name} is {text!r}; valid is a whole number")
        numbers[name] = int(text)
    size, rank = numbers.values()
    if size < 2:
        return None
    endpoints = tuple(given.get("PADDLE_TRAINER_ENDPOINTS", "").split(","))
    if rank >= size or len(endpoints) != size:
        raise InputError(
            f"the launcher's variables do not fit: PADDLE_TRAINER_ID={rank}, PADDLE_TRAINERS_NUM={size}, "
            f"{len(endpoints)} addresses in PADDLE_TRAINER_ENDPOINTS; valid are lower ids, an address for each"
        )
    return Place(rank, size, endpoints)


def on_this_machine(size: int) -> list[Place]:
    """Places for ``size`` ranks here, at ports that are free now."""
    sockets = [socket.socket() for _ in range(size)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        endpoints = tuple(f"127.0.0.1:{one.getsockname()[1]}" for one in sockets)
    finally:
        for one in sockets:
            one.close()
    return [Place(rank, size, endpoints) for rank in range(size)]


def check_ranks(size: int, config: TrainerConfig) -> None:
    """`InputError` for more ranks than GPUs, or than a batch has examples (or groups of them)."""
    if size > config.parts:
        together = "" if config.group == 1 else f", of which {config.group} stay together"
        raise InputError(
            f"{size} processes cannot share a batch of {config.batch}{together}; valid is at most {config.parts}"
        )
    if paddle.get_device().startswith("gpu"):
        count = int(os.environ.get("PADDLE_LOCAL_SIZE", size))
        if count > paddle.device.cuda.device_count():
            raise InputError(f"{count} processes need {count} GPUs, here are {paddle.device.cuda.device_count()}")


def join(place: Place, alive: Callable[[], bool] = lambda: True) -> Meeting:
    """Meet the other ranks. The first one may come much later than the others, which wait for it.

    The launcher's variables must be set, for Paddle reads them too. ``alive`` tells the first whether the others still
    run.
    """
    meeting = Meeting(place.rank, place.endpoints, alive)
    if not paddle.get_device().startswith("gpu"):
        os.environ.setdefault("PADDLE_DISTRI_BACKEND", "gloo")
    with _company(), contextlib.redirect_stderr(io.StringIO()):  # it lists the flags that fastdiffusers has set
        paddle.distributed.init_parallel_env()
    return meeting


class RankGang(Gang):
    """A `Gang` whose members are ranks that have met."""

    def __init__(self, parameters: Mapping[str, paddle.Tensor], place: Place, meeting: Meeting) -> None:
        super().__init__(parameters)
        self.rank, self.size, self._meeting = place.rank, place.size, meeting
        self._total = sum(part.stop - part.start for part in self._slices.values())
        self._published: dict[str, paddle.Tensor] | None = None
        self._fetched = np.empty(0, np.float32)

    def meet(self) -> None:
        self.wait()

    def wait(self) -> None:
        if self._published is None:
            self._meeting.wait()
            return
        mine = np.zeros(self._total, np.float32)
        for name, value in self._published.items():
            mine[self._slices[name]] = value.numpy().reshape(-1)
        self._published = None
        self._fetched = self._sum(paddle.to_tensor(mine)).numpy()  # zeros but for one rank, so exact

    def share(self, values: Sequence[float]) -> np.ndarray:
        found: list[paddle.Tensor] = []
        self._meeting.wait()
        with _company():
            paddle.distributed.all_gather(found, paddle.to_tensor(np.asarray(values, np.float64)))
        return np.stack([one.numpy() for one in found])

    def sum_gradients(
        self, gradients: Mapping[str, paddle.Tensor | None], weight: float, wanted: Sequence[str]
    ) -> dict[str, paddle.Tensor]:
        parts = []
        for name, gradient in gradients.items():
            part = self._slices[name]
            if gradient is None:
                parts.append(paddle.zeros([part.stop - part.start], dtype="float32"))
            else:
                parts.append((gradient.astype("float32") * weight).reshape([-1]))
        if not parts:
            return {}
        total = self._sum(paddle.concat(parts))
        places, at = {}, 0
        for name in gradients:
            places[name] = slice(at, at := at + self._slices[name].stop - self._slices[name].start)
        return {name: total[places[name]].reshape(self._shapes[name]) for name in wanted}

    def publish(self, values: Mapping[str, paddle.Tensor]) -> None:
        self._published = dict(values)

    def fetch(self, name: str) -> np.ndarray:
        return self._fetched[self._slices[name]].reshape(self._shapes[name]).copy()

    def _sum(self, flat: paddle.Tensor) -> paddle.Tensor:
        self._meeting.wait()
        with _company():
            paddle.distributed.all_reduce(flat)
        return flat


@contextmanager
def _company() -> Iterator[None]:
    """What Paddle raises when another rank is gone, in words."""
    try:
        yield
    except (RuntimeError, OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[-1][:200] if str(error).strip() else type(error).__name__
        raise WorkerLost(f"another process of the training ended early, or cannot be reached ({reason})") from error


@contextmanager
def variables(values: Mapping[str, str]) -> Iterator[None]:
    """Environment variables, put back afterwards."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


Alive = Callable[[], bool]
Anything = Any


@contextmanager
def placed(place: Place) -> Iterator[None]:
    """Within this, the environment says what a launcher would have said to this process."""
    before = {name: os.environ.get(name) for name in place.variables()}
    os.environ.update(place.variables())
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
