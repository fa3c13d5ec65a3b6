"""LoRA files of UNets (LCM-LoRA among them), in and out: linear layers and convolutions, kohya's and diffusers' keys.

No Paddle.

The published LCM-LoRA files call a layer by diffusers' name with ``_`` for ``.``, after ``lora_unet_``, and keep its
alpha beside it. A convolution's change is one of a smaller convolution and a 1 × 1 one, the same as of two matrices.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fastdiffusers.counting import counted
from fastdiffusers.errors import WeightsError
from fastdiffusers.weights.lora_layer import LoraLayer
from fastdiffusers.weights.lora_names import KOHYA, of_text_encoder, part_of
from fastdiffusers.weights.tensor_file import read_tensors, write_tensors

Shapes = Mapping[str, tuple[int, ...]]
"""Shapes of the base's weights in torch's orientation, [out, in] or [out, in, h, w], by layer path."""
_PREFIXES = ("base_model.model.", "unet.")


@dataclass(frozen=True)
class UNetLora:
    """The content of a file: by layer path, with convolutions as matrices [r, in·h·w] and [out, r]; what to say."""

    layers: dict[str, LoraLayer]
    note: str

    def delta(self, path: str, shape: tuple[int, ...]) -> np.ndarray:
        """What merging adds to the weight of ``shape``, in torch's orientation."""
        return self.layers[path].delta().reshape(shape)


def read_unet_lora(path: Path, shapes: Shapes) -> UNetLora:
    """Read the LoRA of a UNet whose linear layers and convolutions are ``shapes``.

    The scale of a layer is its alpha over r, or 1 where the file has no alpha. Layers of text encoders are refused.

    Raises:
        WeightsError: one line with the key, its value and what is valid.
    """
    tensors, _ = read_tensors(path)
    names = {KOHYA + name.replace(".", "_"): name for name in shapes} | {name: name for name in shapes}
    found: dict[str, dict[str, np.ndarray]] = {}
    for key, tensor in tensors.items():
        part = part_of(key)
        if part is None:
            raise WeightsError(f"{str(path)!r} holds {key!r}, which is no part of a LoRA; valid: pairs of down and up")
        if of_text_encoder(part.stem):
            raise WeightsError(f"{str(path)!r} changes a text encoder ({key!r}); valid: LoRA files of the UNet alone")
        layer = names.get(_bare(part.stem))
        if layer is None:
            raise WeightsError(_unknown(path, key, part.stem, names))
        if part.role in found.setdefault(layer, {}):
            raise WeightsError(f"{str(path)!r} holds the {part.role} of {layer!r} twice, once as {key!r}")
        found[layer][part.role] = tensor
    layers = {layer: _layer(path, layer, parts, shapes[layer]) for layer, parts in found.items()}
    if not layers:
        raise WeightsError(f"{str(path)!r} holds no LoRA layer of the UNet")
    return UNetLora(layers, _note(layers, sum("alpha" not in parts for parts in found.values())))


def write_unet_lora(
    path: Path,
    layers: Mapping[str, LoraLayer],
    shapes: Shapes,
    metadata: Mapping[str, str],
    form: str = "kohya",
    dtype: str = "float16",
) -> None:
    """Write ``layers`` of a UNet whose weights are ``shapes``, whole or not at all.

    In the form ``kohya`` under the keys of the published LCM-LoRA files, with alpha beside each layer; diffusers,
    ppdiffusers, ComfyUI and kohya's scripts open it. In the form ``diffusers`` under diffusers' (``lora_A``), where the
    scale is a part of the factors, because diffusers looks for no alpha there.

    Raises `WeightsError` for no layers, and for numbers that ``dtype`` cannot hold.
    """
    if not layers:
        raise WeightsError("a LoRA file without layers says nothing; at least one layer is needed")
    tensors: dict[str, np.ndarray] = {}
    for name, layer in layers.items():
        shape = shapes[name]
        down = layer.down.reshape(layer.rank, *shape[1:])
        up = layer.up.reshape(shape[0], layer.rank, *(1,) * (len(shape) - 2))
        if form == "diffusers":
            tensors[f"unet.{name}.lora_A.weight"] = down
            tensors[f"unet.{name}.lora_B.weight"] = (up * layer.scale).astype(np.float32)
            continue
        stem = KOHYA + name.replace(".", "_")
        tensors[f"{stem}.lora_down.weight"], tensors[f"{stem}.lora_up.weight"] = down, up
        tensors[f"{stem}.alpha"] = np.asarray(layer.alpha, np.float32)
    dtypes = {key: "float32" if key.endswith(".alpha") else dtype for key in tensors}
    write_tensors(Path(path), tensors, {"format": "pt", **metadata}, dtypes)


def _bare(stem: str) -> str:
    for prefix in _PREFIXES:
        stem = stem.removeprefix(prefix)
    return stem


def _layer(path: Path, layer: str, parts: Mapping[str, np.ndarray], shape: tuple[int, ...]) -> LoraLayer:
    for role, other in (("down", "up"), ("up", "down")):
        if role not in parts:
            raise WeightsError(f"{str(path)!r} has only half of {layer!r}: its {other} has no {role}")
    down, up = (np.asarray(parts[role], np.float32) for role in ("down", "up"))
    rank = len(down)
    flat_down, flat_up = down.reshape(rank, -1), up.reshape(len(up), -1)
    inner = math.prod(shape[1:])
    one = (1,) * (len(shape) - 2)
    # a 1 × 1 convolution may be kept as a matrix
    downs, ups = {(rank, inner), (rank, *shape[1:])}, {(shape[0], rank), (shape[0], rank, *one)}
    if down.shape not in downs or up.shape not in ups or (down.ndim == 2 and inner != shape[1]):
        raise WeightsError(
            f"{layer!r} in {str(path)!r} has the shapes {list(down.shape)} and {list(up.shape)}; valid for a weight "
            f"{list(shape)}: [r, {', '.join(map(str, shape[1:]))}] and [{', '.join(map(str, (shape[0], 'r', *one)))}]"
        )
    alpha = parts.get("alpha")
    if alpha is not None and alpha.size != 1:
        raise WeightsError(
            f"the alpha of {layer!r} in {str(path)!r} has the shape {list(alpha.shape)}; valid: one number"
        )
    value = float(rank) if alpha is None else float(alpha.reshape(-1)[0])
    if not (math.isfinite(value) and np.isfinite(flat_down).all() and np.isfinite(flat_up).all()):
        raise WeightsError(f"{layer!r} in {str(path)!r} holds NaN or infinity")
    return LoraLayer(flat_down, flat_up, value)


def _unknown(path: Path, key: str, stem: str, names: Mapping[str, str]) -> str:
    close = difflib.get_close_matches(_bare(stem), names, 1, 0.0)
    return f"{str(path)!r} holds {key!r}, a layer that the UNet does not have; the closest is {''.join(close)!r}"


def _note(layers: Mapping[str, LoraLayer], silent: int) -> str:
    ranks = sorted({layer.rank for layer in layers.values()})
    scales = sorted({round(layer.scale, 6) for layer in layers.values()})
    told = " to ".join(f"{value:g}" for value in dict.fromkeys((ranks[0], ranks[-1])))
    scale = " to ".join(f"{value:g}" for value in dict.fromkeys((scales[0], scales[-1])))
    return f"{counted(len(layers), 'layer')}, rank {told}, scale {scale}{', no alpha in the file' if silent else ''}"
