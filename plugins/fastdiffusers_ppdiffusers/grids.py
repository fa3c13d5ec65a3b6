"""Rows and columns of the image tokens, from the arguments that a network is called with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Grid = Callable[[dict[str, Any], int], "tuple[int, int] | None"]


def latent_grid(arguments: dict[str, Any], patch: int) -> tuple[int, int]:
    """Of latents [B, C, H, W]: patches of ``patch`` × ``patch`` cells."""
    latents = arguments["hidden_states"] if "hidden_states" in arguments else arguments["sample"]
    return latents.shape[-2] // patch, latents.shape[-1] // patch


def packed_grid(arguments: dict[str, Any], patch: int) -> tuple[int, int] | None:
    """Of packed tokens: from their position ids (0, row, column); None where these are not a grid."""
    ids = arguments.get("img_ids")
    if ids is None:
        return None
    last = ids.astype("float32").numpy().reshape(-1, ids.shape[-1]).max(0)
    rows, columns = (int(last[axis]) + 1 for axis in (1, 2))
    return (rows, columns) if rows * columns == arguments["hidden_states"].shape[1] else None
