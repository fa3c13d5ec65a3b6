"""Forms of two operations that engines on a CPU run faster, and that compute the same: forward only.

A norm is one kernel, and a linear layer is a product and a sum, the pattern that engines fuse.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from paddle import nn
from paddle.incubate.nn.functional import fused_rms_norm

from fastdiffusers.models.normalization import RMSNorm
from fastdiffusers.models.place import Linear
from fastdiffusers.patching import patch


@contextmanager
def lowered(layer: nn.Layer, use: bool = True) -> Iterator[None]:
    """While it lasts the layers below ``layer`` compute with Paddle's fused kernels; afterwards they are as before."""
    with ExitStack() as undo:
        for part in layer.sublayers() if use else ():
            if isinstance(part, RMSNorm):
                undo.callback(patch(part, "forward", functools.partial(_rms_norm, part)))
            elif isinstance(part, Linear):
                undo.callback(patch(part, "forward", functools.partial(nn.Linear.forward, part)))
        yield


def _rms_norm(norm: RMSNorm, x: Any) -> Any:
    return fused_rms_norm(x, norm.weight, None, norm.eps, begin_norm_axis=x.ndim - 1)[0]
