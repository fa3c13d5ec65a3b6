"""Which parameters Muon takes: hidden matrices and convolutions, by name and shape."""

from __future__ import annotations

import re

from paddle import nn


def muon_names(layer: nn.Layer, outer: str, prefix: str = "") -> frozenset[str]:
    """Names (with ``prefix``) of weights of two or more dimensions, but those in which the regex ``outer`` is found.

    ``outer`` describes what touches the outside (input, output, modulation); embeddings are always left out.
    """
    embeddings = {
        f"{name}.weight" for name, part in layer.named_sublayers(include_self=True) if isinstance(part, nn.Embedding)
    }
    return frozenset(
        prefix + name
        for name, value in layer.named_parameters()
        if value.ndim >= 2 and name not in embeddings and not re.search(outer, name)
    )
