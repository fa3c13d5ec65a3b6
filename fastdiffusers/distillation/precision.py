"""What a recipe's ``precision`` means for weights and products."""

from __future__ import annotations

import paddle

from fastdiffusers.errors import InputError

_DTYPES = {"bf16": "bfloat16", "fp16": "float16"}


def mixed_precision(name: str) -> tuple[str, tuple[str, str] | None]:
    """The dtype to load the frozen network in, and level and dtype of automatic mixed precision, if any.

    `InputError` on a CPU for anything but ``float32``: automatic mixed precision does nothing there, silently.
    """
    if name == "float32":
        return "float32", None
    if paddle.get_device().startswith("cpu"):
        raise InputError(f"precision={name} has no effect on a CPU; valid here: float32")
    kind, _, level = name.partition("-")
    dtype = _DTYPES[kind]
    # adapters are float32, so the level of Paddle's switch is O1 for both: O2 would cast them as well
    return (dtype if level == "o2" else "float32"), ("O1", dtype)
