"""A stretch of blocks as one layer from a list of tensors to a list of tensors: what an engine is given."""

from __future__ import annotations

import hashlib
import inspect
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import paddle
from paddle import nn

from fastdiffusers.caching.stack import BlockStack, Conditions, Form, Streams
from fastdiffusers.compilation.engine import Forms
from fastdiffusers.compilation.lowering import lowered
from fastdiffusers.errors import CompileError

PROGRAM = "program"
_CONSTANT = (type(None), bool, int, float, str)


class Arguments:
    """What a stretch is given, taken apart: ``tensors``, and a ``plan`` of everything else, equal for equal calls."""

    def __init__(self, streams: Streams, conditions: Conditions) -> None:
        self.tensors: list[Any] = []
        self.plan = (self._take(streams), self._take(conditions))
        self.streams = len(streams)

    def _take(self, item: Any) -> Any:
        if isinstance(item, tuple | list):
            return tuple(self._take(part) for part in item)
        if isinstance(item, _CONSTANT):
            return ("constant", item)
        if not isinstance(item, paddle.Tensor):
            raise CompileError(f"blocks that are given a {type(item).__name__} cannot be compiled; valid: tensors")
        self.tensors.append(item)
        return len(self.tensors) - 1


def put_together(plan: Any, tensors: Sequence[Any]) -> Any:
    """What `Arguments` took apart, with other tensors in the same places."""
    if isinstance(plan, int):
        return tensors[plan]
    if plan and plan[0] == "constant":
        return plan[1]
    return tuple(put_together(part, tensors) for part in plan)


class Segment(nn.Layer):
    """Blocks ``start`` to before ``stop`` of a model, from tokens in the form ``entry`` to tokens in ``leave``."""

    def __init__(
        self,
        stack: BlockStack,
        model: Any,
        span: tuple[int, int],
        forms: tuple[Form, Form],
        text_tokens: int,
        arguments: Arguments,
    ) -> None:
        super().__init__()
        chosen = stack.blocks(model)[slice(*span)]
        self.layers = nn.LayerList([block for _, block in chosen])
        self.groups = [group for group, _ in chosen]
        self.stack, self.span, self.forms = stack, span, forms
        self.text_tokens, self.plan = text_tokens, arguments.plan
        self.training = False

    def forward(self, tensors: Sequence[Any]) -> list[Any]:
        """The tokens after the last block."""
        streams, conditions = put_together(self.plan, tensors)
        form = self.forms[0]
        for index, group in enumerate(self.groups):  # the tracer knows no zip with strict
            block = self.layers[index]
            streams = group.run(block, self.stack.convert(streams, form, group.form, self.text_tokens), conditions)
            form = group.form
        return list(self.stack.convert(streams, form, self.forms[1], self.text_tokens))

    def save(self, folder: Path, specs: Sequence[Any], forms: Forms) -> None:
        """Trace the blocks for inputs like ``specs`` and write program and weights to ``folder``."""
        folder.mkdir(parents=True, exist_ok=True)
        with lowered(self, forms):
            try:
                paddle.jit.save(self, str(folder / PROGRAM), input_spec=[list(specs)])
            except OSError as error:
                raise CompileError(f"cannot write a program to {str(folder)!r}: {error.strerror or error}") from error
            except Exception as error:
                raise CompileError(f"blocks {_words(self.span)} cannot be traced: {_last_line(error)}") from error


@contextmanager
def unmarked(segment: Segment) -> Iterator[None]:
    """Tracing marks every layer as built; afterwards the marks are as they were before."""
    marks = [(layer, vars(layer)["_built"]) for layer in segment.layers.sublayers() if "_built" in vars(layer)]
    try:
        yield
    finally:
        for layer, mark in marks:
            layer._built = mark


def specs_of(arguments: Arguments, dynamic: bool) -> list[Any]:
    """An input specification for each tensor; ``dynamic`` leaves batch and numbers of tokens open."""
    found = []
    for number, tensor in enumerate(arguments.tensors):
        shape = list(tensor.shape)
        if dynamic:
            # a table of positions, [1, tokens, heads, D], is the only tensor that has no batch
            if not (len(shape) == 4 and shape[0] == 1):
                shape[0] = None
            if len(shape) > 2:
                shape[1] = None
        found.append(paddle.static.InputSpec(shape, tensor.dtype, name=f"x{number:02d}"))
    return found


def code_digest(segment: Segment) -> str:
    """Hash of the source files that a program is traced from: other code, other program."""
    from fastdiffusers.compilation import lowering

    modules = {type(layer).__module__ for layer in segment.sublayers()} | {lowering.__name__}
    modules |= {function.__module__ for group in segment.groups for function in (group.run,)}
    modules |= {  # and what these call
        other.__module__
        for name in sorted(modules)
        for other in vars(sys.modules[name]).values()
        if str(getattr(other, "__module__", "")).startswith("fastdiffusers.models.")
    }
    digest = hashlib.sha256()
    for name in sorted(modules):
        if not name.startswith("paddle"):
            file = inspect.getsourcefile(sys.modules[name])
            digest.update(name.encode() + (Path(file).read_bytes() if file else b""))
    return digest.hexdigest()


def _words(span: tuple[int, int]) -> str:
    return f"{span[0]} to {span[1] - 1}"


def _last_line(error: Exception) -> str:
    """What went wrong; Paddle's tracer tells the code around it first."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__)[:300]
