"""Where Paddle computes, and the forms of small operations that its CPU kernels run many times faster.

A CPU kernel of Paddle that broadcasts along a middle axis works out every index for itself; one that writes the smaller
operand out first, and then has equal shapes, takes a tenth of the time, backward too. A GPU would only be slowed down.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import paddle
import paddle.nn.functional as F
from paddle import nn

_PLAIN = ContextVar("plain", default=False)
_PRIMITIVE = ContextVar("primitive", default=False)


def on_cpu() -> bool:
    """Whether Paddle computes on a CPU now."""
    return str(paddle.get_device()).startswith("cpu")


def for_paddle_on_cpu() -> bool:
    """Whether Paddle's own CPU kernels will run what is written now."""
    return on_cpu() and not _PLAIN.get()


@contextmanager
def plain_forms(primitive: bool = False) -> Iterator[None]:
    """Within this, blocks are traced for somebody else's kernels; ``primitive``: for those of another framework."""
    plain, former = _PLAIN.set(True), _PRIMITIVE.set(primitive)
    try:
        yield
    finally:
        _PLAIN.reset(plain)
        _PRIMITIVE.reset(former)


def gelu_tanh(x: paddle.Tensor) -> paddle.Tensor:
    """x·Φ(x) in its tanh form (Hendrycks & Gimpel 2016, §2); converters take its name for the exact one."""
    if not _PRIMITIVE.get():
        return F.gelu(x, approximate=True)
    return 0.5 * x * (1 + paddle.tanh((x + 0.044715 * x * x * x) * (2 / math.pi) ** 0.5))


def widened(small: paddle.Tensor, x: paddle.Tensor) -> paddle.Tensor:
    """``small`` for a product or sum with ``x`` over which it broadcasts: written out on a CPU, as it is elsewhere."""
    return small.expand_as(x) if for_paddle_on_cpu() and _differ(small, x) else small


@paddle.jit.not_to_static
def _differ(a: paddle.Tensor, b: paddle.Tensor) -> bool:
    """Whether the shapes differ; those of a program may be unknown in part, which only a plain comparison allows."""
    return list(a.shape) != list(b.shape)


class Linear(nn.Linear):
    """x·W + b, on a CPU in one pass: the product starts from the bias, whose sum would else be a pass of its own."""

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        if self.bias is None or not for_paddle_on_cpu():
            return super().forward(x)
        inner, outer = self.weight.shape
        # as a row: with a bias [outer] that is frozen the backward pass of Paddle 3.3.1 ends the process
        return paddle.addmm(self.bias.unsqueeze(0), x.reshape([-1, inner]), self.weight).reshape([*x.shape[:-1], outer])
