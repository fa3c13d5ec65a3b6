"""A stretch of blocks, or a whole network, as one layer from tensors to tensors: what an engine is given."""

from __future__ import annotations

import hashlib
import inspect
import sys
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
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
Sort = tuple[tuple[tuple[int | None, ...], str], ...]
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
            raise CompileError(f"what is given a {type(item).__name__} cannot be compiled; valid: tensors")
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
    """What one program is made of: ``forward(tensors) -> tensors``.

    Attributes:
        label: what it is of, in words.
        layers: the model's own layers that it runs.
        plan: how its tensors are put together to arguments; see `Arguments`.
    """

    def __init__(self, label: str, layers: Sequence[nn.Layer], plan: Any) -> None:
        super().__init__()
        self.layers = nn.LayerList(layers)
        self.label, self.plan = label, plan
        self.training = False

    @abstractmethod
    def identity(self) -> dict[str, Any]:
        """What decides the program beside weights and shapes."""

    def functions(self) -> Sequence[Callable[..., Any]]:
        """What it calls besides its layers."""
        return ()

    @staticmethod
    def open_axes(shape: Sequence[int]) -> Sequence[int]:
        """The axes of an input of this shape that a dynamic program leaves open."""
        return [0]

    @classmethod
    def sort(cls, arguments: Arguments, dynamic: bool) -> Sort:
        """Shape and type of each tensor, None for what is left open: calls of equal sort share a program."""
        found = []
        for tensor in arguments.tensors:
            shape: list[int | None] = list(tensor.shape)
            for axis in cls.open_axes(tensor.shape) if dynamic else ():
                shape[axis] = None
            found.append((tuple(shape), str(tensor.dtype).rpartition(".")[2]))
        return tuple(found)

    def save(self, folder: Path, sort: Sort, forms: Forms) -> None:
        """Trace it for inputs of this sort and write program and weights to ``folder``."""
        folder.mkdir(parents=True, exist_ok=True)
        specs = [
            paddle.static.InputSpec(list(shape), getattr(paddle, dtype), name=f"x{number:02d}")
            for number, (shape, dtype) in enumerate(sort)
        ]
        with lowered(self, forms):
            try:
                paddle.jit.save(self, str(folder / PROGRAM), input_spec=[specs])
            except OSError as error:
                raise CompileError(f"cannot write a program to {str(folder)!r}: {error.strerror or error}") from error
            except Exception as error:
                raise CompileError(f"{self.label} cannot be traced: {_last_line(error)}") from error


class BlockSegment(Segment):
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
        chosen = stack.blocks(model)[slice(*span)]
        super().__init__(f"blocks {span[0]} to {span[1] - 1}", [block for _, block in chosen], arguments.plan)
        self.groups = [group for group, _ in chosen]
        self.stack, self.span, self.forms, self.text_tokens = stack, span, forms, text_tokens

    def forward(self, tensors: Sequence[Any]) -> list[Any]:
        """The tokens after the last block."""
        streams, conditions = put_together(self.plan, tensors)
        form = self.forms[0]
        for index, group in enumerate(self.groups):  # the tracer knows no zip with strict
            block = self.layers[index]
            streams = group.run(block, self.stack.convert(streams, form, group.form, self.text_tokens), conditions)
            form = group.form
        return list(self.stack.convert(streams, form, self.forms[1], self.text_tokens))

    def identity(self) -> dict[str, Any]:
        return {
            "blocks": list(self.span),
            "forms": [form.name for form in self.forms],
            "plan": self.plan,
            "text tokens": self.text_tokens,
        }

    def functions(self) -> Sequence[Callable[..., Any]]:
        return [group.run for group in self.groups]

    @staticmethod
    def open_axes(shape: Sequence[int]) -> Sequence[int]:
        # a table of positions, [1, tokens, heads, D], is the only tensor that has no batch
        batch = [] if len(shape) == 4 and shape[0] == 1 else [0]
        return [*batch, 1] if len(shape) > 2 else batch


class WholeSegment(Segment):
    """A whole network of the pipeline; ``forward_of`` is how it runs when nothing has taken its place."""

    def __init__(self, name: str, layer: nn.Layer, forward_of: Callable[..., Any], arguments: Arguments) -> None:
        super().__init__(name, [layer], arguments.plan)
        self.forward_of = forward_of

    def forward(self, tensors: Sequence[Any]) -> list[Any]:
        """What the network gives, a list also where it is one tensor."""
        given, _ = put_together(self.plan, tensors)
        found = self.forward_of(*given)
        return list(found) if isinstance(found, tuple | list) else [found]

    def identity(self) -> dict[str, Any]:
        return {"network": self.label, "plan": self.plan}

    @staticmethod
    def open_axes(shape: Sequence[int]) -> Sequence[int]:
        return [0, 2, 3] if len(shape) == 4 else [0]  # a picture's sides; a text's length decides tables of positions


@contextmanager
def unmarked(segment: Segment) -> Iterator[None]:
    """Tracing marks every layer as built; afterwards the marks are as they were before."""
    marks = [(layer, vars(layer)["_built"]) for layer in segment.layers.sublayers() if "_built" in vars(layer)]
    try:
        yield
    finally:
        for layer, mark in marks:
            layer._built = mark


def code_digest(segment: Segment) -> str:
    """Hash of the source files that a program is traced from: other code, other program."""
    from fastdiffusers.compilation import lowering

    modules = {type(layer).__module__ for layer in segment.sublayers()} | {lowering.__name__}
    modules |= {function.__module__ for function in segment.functions()}
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


def _last_line(error: Exception) -> str:
    """What went wrong; Paddle's tracer tells the code around it first."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__)[:300]
