"""Worker processes that share each batch on one machine, through one memory-mapped file.

Paddle's convolutions and element-wise operators hardly use a second thread on CPU, so several processes of one thread
train faster than one process of several. Each worker differentiates its share; gradients are summed in rank order (the
result does not depend on timing); each parameter has one owner, which updates it for all, so that the optimiser's work
is shared as well. A gang of one does the same without a file.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import paddle

from fastdiffusers.errors import UserError

SCALARS = 64
_CHECK_SECONDS = 1.0


class WorkerLost(UserError):
    """Another process of the gang ended before its work was done."""


class Gang:
    """Rank ``rank`` of ``size`` workers over the same named parameters.

    ``alive`` is asked about once a second while waiting; a False ends the wait with `WorkerLost`. Rank 0 makes the
    file: `OSError` if there is no room for it.
    """

    def __init__(
        self,
        parameters: Mapping[str, paddle.Tensor],
        rank: int = 0,
        size: int = 1,
        path: Path | None = None,
        alive: Callable[[], bool] = lambda: True,
    ) -> None:
        self.rank, self.size, self._alive = rank, size, alive
        self._shapes = {name: list(value.shape) for name, value in parameters.items()}
        self._slices: dict[str, slice] = {}
        total = 0
        for name, value in parameters.items():
            count = math.prod(value.shape)
            self._slices[name] = slice(total, total + count)
            total += count
        self._turn = 0
        self._lock = threading.Lock()
        self._path = path
        if size > 1:
            if path is None:
                raise ValueError("a gang of several needs a file")
            head = 8 * size * (1 + SCALARS)
            shape = (head + 4 * total * (1 + size),)
            if rank == 0:
                _allocate(path, shape[0])
            memory = np.memmap(path, dtype=np.uint8, mode="r+", shape=shape)
            self._arrived = memory[: 8 * size].view(np.int64)
            self._scalars = memory[8 * size : head].view(np.float64).reshape(size, SCALARS)
            self._weights = memory[head : head + 4 * total].view(np.float32)
            self._gradients = memory[head + 4 * total :].view(np.float32).reshape(size, total)

    def meet(self) -> None:
        """Wait until everybody has opened the file, then remove its name: a killed gang leaves nothing behind."""
        self.wait()
        if self.rank == 0 and self._path is not None:
            self._path.unlink(missing_ok=True)

    def wait(self) -> None:
        """Go on when everybody has come to this point."""
        if self.size == 1:
            return
        self._turn += 1
        self._fence()
        self._arrived[self.rank] = self._turn
        checked = time.monotonic()
        while int(self._arrived.min()) < self._turn:
            time.sleep(0.0002)
            if time.monotonic() - checked > _CHECK_SECONDS:
                checked = time.monotonic()
                if not self._alive():
                    raise WorkerLost("a worker process ended early; its last words are above")
        self._fence()

    def _fence(self) -> None:
        """Order memory: what was written before is seen by others before what is written after (needed on ARM)."""
        with self._lock:
            pass

    def share(self, values: Sequence[float]) -> np.ndarray:
        """Everybody's numbers: float64 ``[size, len(values)]``, the same for all."""
        own = np.asarray(values, dtype=np.float64)
        if self.size == 1:
            return own[None]
        if len(own) > SCALARS:
            raise ValueError(f"{len(own)} numbers to share, room for {SCALARS}")
        self._scalars[self.rank, : len(own)] = own
        self.wait()
        result = self._scalars[:, : len(own)].copy()
        self.wait()
        return result

    def sum_gradients(
        self, gradients: Mapping[str, paddle.Tensor | None], weight: float, wanted: Sequence[str]
    ) -> dict[str, paddle.Tensor]:
        """Σ weight·gradient over the workers, of the ``wanted`` names; a gradient that is None counts as zero there."""
        if self.size == 1:
            return {name: gradients[name] for name in wanted if gradients[name] is not None}  # type: ignore[misc]
        mine = self._gradients[self.rank]
        for name, gradient in gradients.items():
            place = self._slices[name]
            if gradient is None:
                mine[place] = 0.0
            else:
                np.multiply(gradient.numpy().reshape(-1), np.float32(weight), out=mine[place])
        self.wait()
        result = {}
        for name in wanted:
            place = self._slices[name]
            total = self._gradients[0, place].copy()
            for other in range(1, self.size):
                total += self._gradients[other, place]
            result[name] = paddle.to_tensor(total).reshape(self._shapes[name])
        return result

    def publish(self, values: Mapping[str, paddle.Tensor]) -> None:
        """Put tensors of the parameters' names where everybody can `fetch` them after `wait`."""
        if self.size > 1:
            for name, value in values.items():
                self._weights[self._slices[name]] = value.numpy().reshape(-1)

    def fetch(self, name: str) -> np.ndarray:
        """What the owner of ``name`` published: float32 of the parameter's shape (a copy)."""
        return self._weights[self._slices[name]].reshape(self._shapes[name]).copy()


def _allocate(path: Path, size: int) -> None:
    """A file of zeros that has all its room already: a full memory would kill us at some later write (SIGBUS)."""
    try:
        with open(path, "wb") as stream:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(stream.fileno(), 0, size)
            else:
                stream.truncate(size)
    except OSError:
        path.unlink(missing_ok=True)
        raise


def owners(costs: Mapping[str, float], size: int) -> dict[str, int]:
    """Which rank updates which parameter: the dearest first, each to the rank with the least so far."""
    loads = [0.0] * size
    result = {}
    for name in sorted(costs, key=lambda name: (-costs[name], name)):
        rank = loads.index(min(loads))
        loads[rank] += costs[name]
        result[name] = rank
    return result
