"""One decision for the parallel ranks that draw a picture together. No Paddle until there are several.

Ranks that hold parts of the tokens (or copies of them with other rounding) would decide apart, and a rank that computes
would wait for ever for one that skips. So what an indicator measures is summed over them before it is judged.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def summed(values: Sequence[Any], ranks: Any) -> Sequence[Any]:
    """Each 0-d tensor summed over the process group ``ranks``, in one all-reduce; as they are where it is None."""
    if ranks is None:
        return values
    import paddle

    together = paddle.stack([value.astype("float32") for value in values])
    paddle.distributed.all_reduce(together, group=ranks)
    return [together[i] for i in range(len(values))]
