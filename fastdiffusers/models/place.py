"""Where Paddle computes, and the forms of small operations that its CPU kernels run many times faster.

A CPU kernel of Paddle that broadcasts along a middle axis works out every index for itself; one that writes the smaller
operand out first, and then has equal shapes, takes a tenth of the time, backward too. A GPU would only be slowed down.
"""

from __future__ import annotations

import paddle
from paddle import nn


def on_cpu() -> bool:
    """Whether Paddle computes on a CPU now."""
    return str(paddle.get_device()).startswith("cpu")


def widened(small: paddle.Tensor, x: paddle.Tensor) -> paddle.Tensor:
    """``small`` for a product or sum with ``x`` over which it broadcasts: written out on a CPU, as it is elsewhere."""
    return small.expand_as(x) if on_cpu() and _differ(small, x) else small


@paddle.jit.not_to_static
def _differ(a: paddle.Tensor, b: paddle.Tensor) -> bool:
    """Whether the shapes differ; those of a program may be unknown in part, which only a plain comparison allows."""
    return list(a.shape) != list(b.shape)


class Linear(nn.Linear):
    """x·W + b, on a CPU in one pass: the product starts from the bias, whose sum would else be a pass of its own."""

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        if self.bias is None or not on_cpu():
            return super().forward(x)
        inner, outer = self.weight.shape
        # as a row: with a bias [outer] that is frozen the backward pass of Paddle 3.3.1 ends the process
        return paddle.addmm(self.bias.unsqueeze(0), x.reshape([-1, inner]), self.weight).reshape([*x.shape[:-1], outer])
