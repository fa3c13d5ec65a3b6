"""Changes some tensors of a safetensors file where they lie: same names, shapes and dtypes, one tensor in memory.

No Paddle.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from fastdiffusers.errors import WeightsError
from fastdiffusers.weights.tensor_file import decoded, encoded

Change = Callable[[str, tuple[int, ...], bool], "np.ndarray | None"]
DTYPES = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}
PADDLE_SIDE = ("pd", "np")
LARGEST_HEADER = 100_000_000


def add_to_tensors(path: Path, change: Change) -> list[str]:
    """Add ``change(name, shape, paddle_side)`` to each tensor for which it is not None; the names of those.

    What is added is float32 of the tensor's shape; the sum is rounded to the tensor's dtype. ``paddle_side``: the file
    says that it keeps linear weights as [in, out].

    Raises `WeightsError` for a damaged file, for dtypes that are no floats, for sums that the dtype cannot hold.
    """
    done = []
    try:
        with path.open("r+b") as stream:
            size = int.from_bytes(stream.read(8), "little")
            if size > LARGEST_HEADER:
                raise ValueError("its header length is not plausible")
            header: dict[str, Any] = json.loads(stream.read(size))
            side = (header.pop("__metadata__", None) or {}).get("format") in PADDLE_SIDE
            for name, entry in header.items():
                delta = change(name, tuple(entry["shape"]), side)
                if delta is None:
                    continue
                if entry["dtype"] not in DTYPES:
                    raise WeightsError(f"{name!r} in {str(path)!r} is {entry['dtype']}; valid: {', '.join(DTYPES)}")
                first, end = entry["data_offsets"]
                stream.seek(8 + size + first)
                data = stream.read(end - first)
                values = decoded(data, entry["dtype"]).reshape(entry["shape"]) + delta
                stream.seek(8 + size + first)
                stream.write(encoded(name, values, DTYPES[entry["dtype"]]).tobytes())
                done.append(name)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(f"{str(path)!r} is truncated or no safetensors file: {error}") from None
    return done
