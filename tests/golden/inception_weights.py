"""Weights of FID's Inception-v3 by formula: real widths, and no file of 95 MB."""

import numpy as np
from formula_weights import formula


def inception_weight(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """float32; norms near the identity, variances positive, convolutions that keep the size of what ReLU lets pass."""
    values = formula(name, shape, 1.0)
    kind = name.rpartition(".")[2]
    if len(shape) == 4:
        return values * np.float32(np.sqrt(2 / np.prod(shape[1:])))
    if kind == "running_var":
        return np.exp(np.float32(0.2) * values)
    return (1 if kind == "weight" else 0) + np.float32(0.1) * values
