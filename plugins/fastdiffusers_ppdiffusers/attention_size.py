"""How large a network's largest attention is, from its configuration: what decides the memory of a step. No Paddle."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SD3_TEXT = 77 + 256  # tokens of CLIP and of T5


def attention_size(config: Mapping[str, Any], tokens: int) -> tuple[int, int, int]:
    """(tokens, heads, width of a head) of the largest attention, for ``tokens`` image tokens at the network's input.

    A UNet halves the sides from level to level and begins to attend at one of them: SD1.5 at the first, SDXL at the
    second. There ``attention_head_dim`` is the number of heads, whatever its name says.
    """
    levels = config.get("down_block_types")
    if not levels:
        return tokens + SD3_TEXT, int(config["num_attention_heads"]), int(config["attention_head_dim"])
    first = next((i for i, kind in enumerate(levels) if "Attn" in str(kind)), 0)
    heads = config.get("num_attention_heads") or config.get("attention_head_dim") or 8
    count = int(heads[first] if isinstance(heads, list | tuple) else heads)
    return max(tokens // 4**first, 1), count, int(config["block_out_channels"][first]) // count
