"""Which weights a program was made of: an exact hash to keep it under, and a quick look whether they have changed."""

from __future__ import annotations

import hashlib
import zlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from paddle import nn

from fastdiffusers.environment import current

Glance = tuple[tuple[int, int], ...]
_ROW = 256  # words of 8 bytes


def digest(layer: nn.Layer) -> str:
    """SHA-256 over name, type, shape and bytes of every parameter and buffer."""
    found = hashlib.sha256()
    for name, tensor in _tensors(layer):
        found.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        found.update(_bits(tensor).data)
    return found.hexdigest()


def glance(layer: nn.Layer, content: bool) -> Glance:
    """Identity and, with ``content``, checksum of every parameter and buffer: another one where weights have changed.

    A program over the model's own weights sees what is written to them; one with a copy has to be told. It is
    quick enough for every picture. (A tensor's own version counter would be free, but ``set_value`` does not raise it.)
    """
    tensors = [tensor for _, tensor in _tensors(layer)]
    if not content:
        return tuple((id(tensor), 0) for tensor in tensors)
    with ThreadPoolExecutor(current().threads) as pool:  # numpy's sums run beside each other
        return tuple(zip(map(id, tensors), pool.map(_checksum, map(_bits, tensors)), strict=True))


def _checksum(bits: np.ndarray) -> int:
    whole = len(bits) // (8 * _ROW) * 8 * _ROW
    # sums of rows in integers lose no change of a weight; their order does the rest
    rows = bits[:whole].view(np.uint64).reshape(-1, _ROW).sum(axis=1)
    return zlib.crc32(bits[whole:].tobytes(), zlib.crc32(rows.tobytes()))


def _tensors(layer: nn.Layer) -> list[tuple[str, Any]]:
    return [*layer.named_parameters(), *layer.named_buffers()]


def _bits(tensor: Any) -> np.ndarray:
    """The bytes of a tensor; without a copy, which would take longer than the sums, where numpy knows the type."""
    try:
        found = np.from_dlpack(tensor.detach())
    except (AttributeError, BufferError, RuntimeError, TypeError):
        found = tensor.detach().numpy()
    return np.ascontiguousarray(found).reshape(-1).view(np.uint8)
