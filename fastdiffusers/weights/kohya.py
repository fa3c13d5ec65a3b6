"""LoRA in the words of kohya's scripts, which ComfyUI reads: FLUX's original layers, several of ours in one.

A fused layer's output is the outputs of its parts one after the other and they share the input. From ours to fused is
exact: the downs stacked, the ups as blocks on the diagonal. Back is exact too: every part takes its rows of ``up`` and
the whole ``down``, less the rows of ``down`` that its columns of ``up`` do not use.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from fastdiffusers.errors import WeightsError
from fastdiffusers.weights.lora_layer import LoraLayer
from fastdiffusers.weights.lora_names import KOHYA, SWAPPED, Shapes, original_names
from fastdiffusers.weights.tensor_file import write_tensors


def write_kohya(
    path: str | Path,
    layers: Mapping[str, LoraLayer],
    shapes: Shapes,
    metadata: Mapping[str, str] | None = None,
    dtype: str = "float16",
) -> None:
    """Write ``layers`` as kohya's scripts do (lora_unet_double_blocks_0_img_attn_qkv.lora_down.weight, .alpha).

    ``shapes`` are the base's linear layers, (in, out) by path: what a part of a fused layer that has no LoRA is as
    wide as. diffusers leaves out the layers around the blocks (norm_out, x_embedder …) when it reads such files; give
    it `write_lora`'s. Errors: no layers, one that the original release has no name for, numbers that ``dtype`` cannot
    hold.
    """
    path = Path(path)
    if not layers:
        raise WeightsError("a LoRA file without layers says nothing; at least one layer is needed")
    missing = dict(layers)
    tensors: dict[str, np.ndarray] = {}
    for original, parts in original_names(shapes).items():
        found = [missing.pop(part, None) for part in parts]
        if any(found):
            layer = fused(found, [shapes[part] for part in parts])
            if parts == (SWAPPED,):
                layer = swapped(layer)
            if original.startswith("final_layer"):
                # diffusers drops the alpha of these two when it reads the file
                layer = LoraLayer(layer.down, (layer.up * layer.scale).astype(np.float32), float(layer.rank))
            name = KOHYA + original.replace(".", "_")
            tensors[f"{name}.lora_down.weight"] = layer.down
            tensors[f"{name}.lora_up.weight"] = layer.up
            tensors[f"{name}.alpha"] = np.array(layer.alpha, np.float32)
    if missing:
        raise WeightsError(f"{min(missing)!r} has no name in kohya's files; valid: layers of FLUX's transformer")
    dtypes = {key: "float32" if key.endswith(".alpha") else dtype for key in tensors}
    write_tensors(path, tensors, {"format": "pt", **(metadata or {})}, dtypes)


def fused(parts: Sequence[LoraLayer | None], shapes: Sequence[tuple[int, int]]) -> LoraLayer:
    """One layer whose output is that of ``parts`` one after the other (None: zeros), ``shapes`` being (in, out)."""
    present = [part for part in parts if part is not None]
    if len(parts) == 1:
        return present[0]
    rank = sum(part.rank for part in present)
    scales = {part.scale for part in present}
    common = scales.pop() if len(scales) == 1 else None
    up = np.zeros((sum(out for _, out in shapes), rank), np.float32)
    row = column = 0
    for part, (_, out) in zip(parts, shapes, strict=True):
        if part is not None:
            factor = part.up if common is not None else part.up * part.scale
            up[row : row + out, column : column + part.rank] = factor
            column += part.rank
        row += out
    down = np.concatenate([part.down for part in present])
    return LoraLayer(down, up, rank * (1.0 if common is None else common))


def split(layer: LoraLayer, outs: Sequence[int]) -> list[LoraLayer | None]:
    """The parts of a fused layer, of ``outs`` outputs each; None where ``up`` is zero and another part's is not."""
    if len(outs) == 1:
        return [layer]
    parts: list[LoraLayer | None] = []
    for end, out in zip(np.cumsum(outs), outs, strict=True):
        up = layer.up[end - out : end]
        used = up.any(axis=0) if layer.up.any() else np.ones(layer.rank, bool)
        rank = int(np.count_nonzero(used))
        parts.append(LoraLayer(layer.down[used], up[:, used], layer.scale * rank) if rank else None)
    return parts


def swapped(layer: LoraLayer) -> LoraLayer:
    """The layer with the halves of its output exchanged (scale and shift of the last norm)."""
    first, second = np.split(layer.up, 2)
    return LoraLayer(layer.down, np.concatenate([second, first]), layer.alpha)
