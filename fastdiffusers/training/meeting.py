"""Where ranks wait for each other, however long it takes, and notice at once when one is gone.

Gloo gives up a wait after 30 seconds and NCCL after half an hour; the first rank may draw pictures or write a model for
longer. So ranks meet here before they exchange tensors: every rank keeps one connection to the first.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable

from fastdiffusers.training.gang import WorkerLost

SECONDS_TO_ANSWER, SECONDS_TO_GREET = 600.0, 10.0
_PAUSE = 0.2


class Meeting:
    """Rank ``rank`` of those at ``endpoints`` (HOST:PORT each). The first comes to the others, which listen.

    ``alive`` is asked while the first looks for the others; a False ends that with `WorkerLost`.
    """

    def __init__(self, rank: int, endpoints: tuple[str, ...], alive: Callable[[], bool] = lambda: True) -> None:
        self.rank = rank
        self._others: list[tuple[int, socket.socket]] = []
        if rank == 0:
            for other, endpoint in enumerate(endpoints[1:], 1):
                self._others.append((other, self._call(other, endpoint, alive)))
        else:
            self._others.append((0, self._listen(endpoints[rank])))

    def _call(self, other: int, endpoint: str, alive: Callable[[], bool]) -> socket.socket:
        host, _, port = endpoint.rpartition(":")
        end = time.monotonic() + SECONDS_TO_ANSWER
        while time.monotonic() < end and alive():
            with contextlib.suppress(OSError):
                found = socket.create_connection((host, int(port)), timeout=SECONDS_TO_ANSWER)
                found.settimeout(None)
                found.sendall(_greeting(other))
                if found.recv(1) == b"!":
                    return _prompt(found)
                found.close()
            time.sleep(_PAUSE)
        raise WorkerLost(f"process {other} of the training does not answer at {endpoint}")

    def _listen(self, endpoint: str) -> socket.socket:
        port = int(endpoint.rpartition(":")[2])
        try:
            server = socket.create_server(("", port))
        except OSError as error:
            raise WorkerLost(f"cannot listen at {endpoint}: {error.strerror or error}") from None
        with server:
            while True:
                found, _ = server.accept()
                found.settimeout(SECONDS_TO_GREET)
                with contextlib.suppress(OSError):
                    if found.recv(len(_greeting(self.rank)), socket.MSG_WAITALL) == _greeting(self.rank):
                        found.sendall(b"!")
                        found.settimeout(None)
                        return _prompt(found)
                found.close()  # somebody else's

    def wait(self) -> None:
        """Go on when all have come to this point; `WorkerLost` when one is gone."""
        if self.rank:
            self._say()
        for other, connection in self._others:
            try:
                heard = connection.recv(1)
            except OSError:
                heard = b""
            if not heard:
                raise WorkerLost(f"process {other} of the training ended early")
        if not self.rank:
            self._say()

    def _say(self) -> None:
        for other, connection in self._others:
            try:
                connection.sendall(b".")
            except OSError:
                raise WorkerLost(f"process {other} of the training ended early") from None

    def close(self) -> None:
        """Leave for good."""
        for _, connection in self._others:
            connection.close()


def _greeting(rank: int) -> bytes:
    return f"fastdiff rank {rank}\n".encode()


def _prompt(connection: socket.socket) -> socket.socket:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    return connection
