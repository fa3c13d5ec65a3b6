"""Safetensors files as NumPy arrays, bfloat16 included (which NumPy lacks, so that safetensors.numpy stops at it).

For small files that are read as a whole, as adapters are; the weights of networks go through `layers`. No Paddle.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, deserialize

from fastdiffusers.errors import InputError, WeightsError, one_of
from fastdiffusers.files import atomic_write
from fastdiffusers.weights.layout import DTYPES, PICKLES

_FLOATS = {"F64": "<f8", "F32": "<f4", "F16": "<f2"}
_CODES = {"float32": "F32", "bfloat16": "BF16", "float16": "F16"}
_PICKLE_STARTS = (b"PK\x03\x04", b"\x80")  # a zip (torch.save since 1.6) and a bare pickle (paddle.save)


def read_tensors(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """All tensors of a file as float32, and the metadata of its header.

    Paddle hands bfloat16 to NumPy as its bits in uint16, and files written so are known by ``format: pd`` in the
    header. Errors: no such file, a pickle, a truncated or foreign file, a tensor that is no float or is not finite.
    """
    content = _content(path)
    try:
        found = deserialize(content)
    except (SafetensorError, ValueError) as error:
        if content.startswith(_PICKLE_STARTS):
            raise _pickle(path) from None
        raise WeightsError(f"{str(path)!r} is truncated or no safetensors file: {error}") from None
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    metadata = dict(header.get("__metadata__") or {})
    tensors = {}
    for key, view in found:
        code = "BF16" if view["dtype"] == "U16" and metadata.get("format") == "pd" else view["dtype"]
        if code != "BF16" and code not in _FLOATS:
            raise WeightsError(f"{key!r} in {str(path)!r} is {code}; weights are F32, F16, BF16 or F64")
        values = decoded(view["data"], code)
        bad = int(values.size - np.count_nonzero(np.isfinite(values)))
        if bad:
            raise WeightsError(
                f"{key!r} in {str(path)!r} has {bad} values that are NaN or infinite; valid: finite ones"
            )
        tensors[key] = values.reshape(view["shape"])
    return tensors, metadata


def decoded(data: bytes, code: str) -> np.ndarray:
    """Numbers as a safetensors file keeps them under ``code`` (BF16, F16, F32, F64), as float32."""
    if code == "BF16":
        return (np.frombuffer(data, "<u2").astype(np.uint32) << 16).view(np.float32)
    return np.frombuffer(data, _FLOATS[code]).astype(np.float32, copy=False)


def _content(path: Path) -> bytes:
    if path.suffix in PICKLES:
        raise _pickle(path)
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise WeightsError(f"{str(path)!r} does not exist; a .safetensors file is needed") from None
    except OSError as error:
        raise WeightsError(f"cannot read {str(path)!r}: {error.strerror or error}") from None


def _pickle(path: Path) -> WeightsError:
    return WeightsError(f"{str(path)!r} is a pickle, which can run code when opened; convert it to safetensors")


def write_tensors(
    path: Path, tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str], dtypes: Mapping[str, str]
) -> None:
    """Write ``tensors`` (finite float32) in the dtypes named in ``dtypes``: a whole file, or none.

    Errors: an unknown dtype; numbers that ``float16`` cannot hold.
    """
    stored = {key: encoded(key, value, dtypes[key]) for key, value in tensors.items()}
    # wide dtypes first, so that every tensor starts at a multiple of its item size
    order = sorted(stored, key=lambda key: (-stored[key].itemsize, key))
    header: dict[str, object] = {"__metadata__": dict(metadata)}
    offset = 0
    for key in order:
        end = offset + stored[key].nbytes
        shape = list(tensors[key].shape)
        header[key] = {"dtype": _CODES[dtypes[key]], "shape": shape, "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with atomic_write(path) as temporary, temporary.open("wb") as stream:
        stream.write(len(text).to_bytes(8, "little") + text)
        for key in order:
            stream.write(stored[key].tobytes())


def encoded(key: str, value: np.ndarray, dtype: str) -> np.ndarray:
    """``value`` as a file keeps it in ``dtype``; `WeightsError` for numbers that are not finite or that it lacks."""
    if dtype not in DTYPES:
        raise InputError(one_of("dtype", dtype, DTYPES))
    values = np.ascontiguousarray(value, dtype="<f4")
    if not np.isfinite(values).all():
        raise WeightsError(f"{key!r} has values that are NaN or infinite; valid: finite ones")
    if dtype == "bfloat16":
        bits = values.view(np.uint32)
        return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2")  # to nearest, ties to even
    if dtype == "float16":
        largest = float(np.abs(values).max(initial=0.0))
        if largest >= 65520:
            raise WeightsError(f"{key!r} has {largest:g}, which float16 cannot hold; valid: float32, bfloat16")
        return values.astype("<f2")
    return values
