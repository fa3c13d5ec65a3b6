"""A pipeline that another library built and the user holds, taken into a session as it is, and given back unchanged.

The families that plugins register say which objects they know. Nothing is imported to find out.
"""

from __future__ import annotations

from typing import Any

from fastdiffusers.accelerator import one_line
from fastdiffusers.context import StepContext
from fastdiffusers.errors import InputError, PluginError, UserError
from fastdiffusers.plugins import Registry
from fastdiffusers.recorder import Recorder


def is_ours(pipe: Any) -> bool:
    """Whether ``pipe`` has what a session needs: a description and a step context."""
    return getattr(pipe, "info", None) is not None and isinstance(getattr(pipe, "context", None), StepContext)


def adopt(pipe: Any, plugins: Registry) -> Recorder:
    """Let the family that recognises ``pipe`` make something that stands for it: the ``pipe`` of the recorder returned.

    Its ``undo`` gives the pipeline back as it was. Raises `InputError` when no family recognises it, and whatever the
    family has against it; nothing has changed then.
    """
    family = next((f for f in plugins.pipelines.values() if f.recognise is not None and f.recognise(pipe)), None)
    if family is None:
        raise InputError(
            "accelerators attach to a pipeline from fastdiffusers.load (it has `info` and `context`), or to one of "
            f"ppdiffusers of a kind that is known (`fastdiff plugins`), got {_kind(pipe)}"
        )
    recorder = Recorder(pipe, StepContext())
    try:
        recorder.pipe = family.hold(pipe, recorder)
    except UserError:
        recorder.undo()
        raise
    except Exception as error:
        recorder.undo()
        raise PluginError(f"{_kind(pipe)} was recognised as {family.name!r} but: {one_line(error)}") from error
    return recorder


def _kind(pipe: Any) -> str:
    kind = type(pipe)
    home = kind.__module__.partition(".")[0]
    return kind.__name__ if home in ("builtins", "__main__") else f"{kind.__name__} of {home}"
