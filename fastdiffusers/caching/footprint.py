"""How much a cache keeps, from its design and the model's configuration. No Paddle."""

from __future__ import annotations

from collections.abc import Sequence

from fastdiffusers.caching.design import Design
from fastdiffusers.caching.scopes import Modules
from fastdiffusers.caching.stack import Form


def kept_vectors(designs: Sequence[Design], forms: Sequence[Form], image: int, text: int) -> int | None:
    """Token vectors of the model's width that one guidance branch keeps at most; None where it caches modules.

    Every unit keeps the differences of its estimator, every indicator that looks at tokens one probe.
    """
    if any(isinstance(design.scope, Modules) for design in designs):
        return None
    depth, total = len(forms), 0
    for design in designs:
        spans, indicator, terms = design.scope.spans(forms), design.indicator(), design.estimator().order + 1
        total += sum(terms * (image if stop == depth else image + text) for _, stop in spans)
        if not indicator.blind:
            probes = spans[:1] if indicator.common else spans
            total += sum(image if forms[start] is Form.APART else image + text for start, _ in probes)
    return total
