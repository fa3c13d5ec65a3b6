"""The only way an accelerator changes a pipeline: everything done through a recorder is undone by it, in reverse."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

from fastdiffusers.context import StepContext
from fastdiffusers.errors import PluginError
from fastdiffusers.patching import patch

State = TypeVar("State")


class Recorder:
    """Records what one accelerator changes.

    Attributes:
        pipe: the pipeline.
        context: its `StepContext`.
    """

    def __init__(self, pipe: Any, context: StepContext) -> None:
        self.pipe = pipe
        self.context = context
        self._undo: list[Callable[[], None]] = []
        self._closed = False

    def patch(self, owner: Any, name: str, value: Any) -> None:
        """Set ``owner.name = value`` on one object (an attribute, sub-layer, parameter or buffer) until the detach.

        Raises `PluginError` for classes, modules, properties and special methods.
        """
        self._open()
        self._undo.append(patch(owner, name, value))

    def state(self, factory: Callable[[], State]) -> BranchState[State]:
        """A callable that gives the state of the present guidance branch, made by ``factory()`` in each generation.

        Outside a generation every call gives a new state that nobody keeps: there is nothing to reuse.
        """
        self._open()
        states = BranchState(self.context, factory)
        self._undo.append(states.close)
        return states

    def on_reset(self, callback: Callable[[], None]) -> None:
        """Call ``callback()`` whenever a generation begins."""
        self._open()
        self._undo.append(self.context.on_begin(callback))

    def on_detach(self, callback: Callable[[], None]) -> None:
        """Call ``callback()`` when the accelerator is taken off, in its place in the reverse order."""
        self._open()
        self._undo.append(callback)

    def flags(self, values: Mapping[str, Any]) -> None:
        """Set process-wide Paddle flags (``{"FLAGS_…": value}``) until the detach. Raises `PluginError` if unknown."""
        self._open()
        import paddle

        try:
            old = paddle.get_flags(list(values))
            self._undo.append(lambda: paddle.set_flags(old))  # before: of several flags the first may be set already
            paddle.set_flags(dict(values))
        except (ValueError, TypeError, RuntimeError) as error:
            names = ", ".join(values)
            raise PluginError(f"cannot set {names}: {' '.join(str(error).split())[:200]}") from error

    def undo(self) -> list[Exception]:
        """Undo everything, last first; what fails does not keep the rest from being undone, and is returned.

        A second call does nothing.
        """
        self._closed = True
        errors: list[Exception] = []
        while self._undo:
            try:
                self._undo[-1]()
            except Exception as error:
                errors.append(error)
            self._undo.pop()  # not before: after a Ctrl-C in between, another call finishes the work
        return errors

    def _open(self) -> None:
        if self._closed:
            raise PluginError("the recorder was used after its accelerator had been taken off")


class BranchState(Generic[State]):
    """One state per guidance branch, new in every generation; call it to get the present branch's."""

    def __init__(self, context: StepContext, factory: Callable[[], State]) -> None:
        self._context = context
        self._factory: Callable[[], State] | None = factory
        self._states: dict[str, State] = {}
        self._removers = [context.on_begin(self._states.clear), context.on_end(self._states.clear)]

    def __call__(self) -> State:
        if self._factory is None:
            raise PluginError("a state was used after its accelerator had been taken off")
        if not self._context.active:
            return self._factory()
        branch = self._context.branch
        if branch not in self._states:
            self._states[branch] = self._factory()
        return self._states[branch]

    def close(self) -> None:
        """Drop the states and the factory; nothing is held any more."""
        for remove in self._removers:
            remove()
        self._states.clear()
        self._factory = None
