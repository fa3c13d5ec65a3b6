"""The blocks as an engine wants them written; what they compute is the same."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from paddle import nn
from paddle.incubate.nn.functional import fused_rms_norm

from fastdiffusers.compilation.engine import Forms
from fastdiffusers.models.normalization import RMSNorm
from fastdiffusers.models.place import plain_forms
from fastdiffusers.patching import patch


@contextmanager
def lowered(layer: nn.Layer, forms: Forms) -> Iterator[None]:
    """While it lasts the layers below ``layer`` compute in ``forms``; afterwards they are as before."""
    with ExitStack() as undo:
        if forms is not Forms.EAGER:
            undo.enter_context(plain_forms(primitive=forms is Forms.PRIMITIVE))
        for part in layer.sublayers() if forms is Forms.FUSED else ():
            if isinstance(part, RMSNorm):  # traced as it is written, it takes oneDNN a fifth of the whole stack
                undo.callback(patch(part, "forward", functools.partial(_rms_norm, part)))
        yield


def _rms_norm(norm: RMSNorm, x: Any) -> Any:
    return fused_rms_norm(x, norm.weight, None, norm.eps, begin_norm_axis=x.ndim - 1)[0]
