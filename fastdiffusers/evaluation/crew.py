"""Worker processes of one thread each, for what Paddle on a CPU does not do faster with more threads. No Paddle."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from fastdiffusers.errors import InputError, UserError

SECONDS_TO_END = 5.0


class WorkFailed(UserError):
    """A worker process failed or died; the message says at what."""


@dataclass(frozen=True)
class Task:
    """A call of ``function`` ("module:name") with ``arguments`` that JSON can hold, as its result must be."""

    function: str
    arguments: dict[str, Any] = field(default_factory=dict)


Done = Callable[[Task, Any], None]


class Crew:
    """``workers`` processes that do tasks; they start at the first one and stay until the end of ``with``.

    What a task's module keeps (a loaded model, a compiled graph) is there for the same worker's next task.
    """

    def __init__(self, workers: int) -> None:
        if workers < 1:
            raise InputError(f"workers is {workers}; it must be at least 1")
        self.size = workers
        self._workers: list[subprocess.Popen[str]] = []

    def __enter__(self) -> Crew:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end(at_once=error is not None)

    def run(self, tasks: Sequence[Task], done: Done | None = None) -> None:
        """Do all tasks, each by the next free worker, and call ``done(task, result)`` after each one.

        The first failure is raised as `WorkFailed`; it ends all workers, as Ctrl-C does. So a task must leave its
        output whole or not at all.
        """
        waiting: queue.SimpleQueue[Task] = queue.SimpleQueue()
        for task in tasks:
            waiting.put(task)
        events: queue.SimpleQueue[tuple[Task, Any]] = queue.SimpleQueue()
        try:
            while len(self._workers) < min(self.size, len(tasks)):
                self._workers.append(_start())
            for worker in self._workers:
                threading.Thread(target=_feed, args=(worker, waiting, events), daemon=True).start()
            for _ in tasks:
                task, result = events.get()
                if isinstance(result, Exception):
                    raise result
                if done is not None:
                    done(task, result)
        except BaseException:
            self._end(at_once=True)
            raise

    def _end(self, at_once: bool) -> None:
        """A worker ends by itself when its input does; one that does not is killed."""
        for worker in self._workers:
            if at_once:
                worker.kill()
            assert worker.stdin is not None and worker.stdout is not None
            with contextlib.suppress(OSError):
                worker.stdin.close()
        for worker in self._workers:
            try:
                worker.wait(timeout=SECONDS_TO_END)
            except subprocess.TimeoutExpired:
                worker.kill()
                worker.wait()
        self._workers = []


def _start() -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return subprocess.Popen(
        [sys.executable, "-m", "fastdiffusers.evaluation.worker"],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,  # Ctrl-C is for the first process, which ends the others
    )


def _feed(worker: subprocess.Popen[str], waiting: queue.SimpleQueue[Task], events: queue.SimpleQueue[Any]) -> None:
    """Give one worker task after task until there is none, or one fails."""
    assert worker.stdin is not None and worker.stdout is not None
    while True:
        try:
            task = waiting.get_nowait()
        except queue.Empty:
            return
        try:
            worker.stdin.write(json.dumps({"function": task.function, "arguments": task.arguments}) + "\n")
            worker.stdin.flush()
            line = worker.stdout.readline()
            reply = json.loads(line) if line else {"error": f"a worker process died (exit code {worker.wait()})"}
        except (OSError, ValueError) as error:
            reply = {"error": f"a worker process cannot be reached ({error})"}
        if "error" in reply:
            events.put((task, WorkFailed(f"{task.function.rpartition(':')[2]}: {reply['error']}")))
            return
        events.put((task, reply["result"]))
