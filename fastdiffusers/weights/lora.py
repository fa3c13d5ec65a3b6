"""LoRA files in and out: our own, diffusers' (new and old keys), kohya's and ComfyUI's, PaddleMIX's. No Paddle."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from fastdiffusers.counting import counted
from fastdiffusers.errors import WeightsError
from fastdiffusers.weights import lora_alpha
from fastdiffusers.weights.kohya import split, swapped, write_kohya
from fastdiffusers.weights.lora_entries import Entry, collect, orientation
from fastdiffusers.weights.lora_layer import LoraFile, LoraLayer
from fastdiffusers.weights.lora_names import SWAPPED, Shapes
from fastdiffusers.weights.tensor_file import read_tensors, write_tensors

__all__ = ["LoraFile", "LoraLayer", "read_lora", "write_kohya", "write_lora"]

_RESERVED = ("format", lora_alpha.ADAPTER, lora_alpha.OWN)


def read_lora(path: str | Path, shapes: Shapes) -> LoraFile:
    """Read a LoRA of the network whose linear layers are ``shapes``, (in, out) by layer path.

    Names, orientation and scale are found from the file. The scale comes from alpha tensors, else from the header
    (diffusers' ``lora_adapter_metadata``) or peft's adapter_config.json beside the file, else it is 1, as diffusers
    has it. PaddleMIX's published FLUX-Lightning file is known by its form and gets its true scale, 8 / rank. Layers of
    text encoders are ignored if they change nothing, and refused otherwise.

    Raises:
        WeightsError: one line with the key, its value and what is valid: a layer that the base lacks, shapes that do
            not fit, half a pair, NaN, something that is no LoRA, a pickle, a truncated file.
    """
    path = Path(path)
    tensors, metadata = read_tensors(path)
    header = lora_alpha.HeaderAlphas(metadata, path, list(tensors))
    entries, ignored = collect(tensors, shapes, path)
    way = orientation(entries, shapes, metadata, path)
    kind = _kind(path, metadata, entries, way, header)

    layers: dict[str, LoraLayer] = {}
    silent = 0
    for entry in entries:
        down, up = (np.ascontiguousarray(factor) for factor in entry.factors(way))
        rank = down.shape[0]
        alpha = entry.alpha(path)
        if alpha is None:
            alpha = header.of(entry.paths[0], rank)
        if alpha is None:
            silent += 1
            alpha = lora_alpha.LIGHTNING_ALPHA if kind == LIGHTNING else float(rank)
        whole = LoraLayer(down, up, alpha)
        if entry.original and entry.paths == (SWAPPED,):
            whole = swapped(whole)
        parts = split(whole, [shapes[name][1] for name in entry.paths])
        for name, layer in zip(entry.paths, parts, strict=True):
            if name in layers:
                raise WeightsError(f"{str(path)!r} holds {name!r} twice, once as {entry.keys['down']!r}; one is needed")
            if layer is not None:
                layers[name] = layer
    note = _note(layers, kind, silent, len(entries))
    if ignored:
        note += f"; {counted(len(ignored), 'layer')} of text encoders ignored, all zero, the first {ignored[0]!r}"
    return LoraFile(layers, kind, note, metadata)


LIGHTNING = "ppdiffusers-lightning"


def _kind(
    path: Path, metadata: Mapping[str, str], entries: Sequence[Entry], way: str, header: lora_alpha.HeaderAlphas
) -> str:
    """Who wrote the file."""
    if lora_alpha.OWN in metadata:
        return "fastdiffusers"
    if any(entry.original for entry in entries):
        return "kohya"
    if way == "paddle" or metadata.get("format") == "pd" or path.name == "paddle_lora_weights.safetensors":
        silent = header.default is None and not any("alpha" in entry.keys for entry in entries)
        ranks = {entry.paths[0]: entry.factors(way)[0].shape[0] for entry in entries}
        return LIGHTNING if silent and lora_alpha.from_lightning(ranks) else "ppdiffusers"
    return "diffusers" if all(entry.word == "lora_A" for entry in entries) else "diffusers-old"


def _note(layers: Mapping[str, LoraLayer], kind: str, silent: int, entries: int) -> str:
    rank = _range(layer.rank for layer in layers.values())
    scale = _range(layer.scale for layer in layers.values())
    told = f"{counted(len(layers), 'layer')}, rank {rank}"
    if kind == LIGHTNING:
        return (
            f"recognised FLUX-Lightning of PaddleMIX ({told}, no alpha in the file): trained with alpha "
            f"{lora_alpha.LIGHTNING_ALPHA:g}, scale {scale}"
        )
    if not silent:
        return f"{told}, scale {scale}"
    whose = "no alpha in the file: scale 1" if silent == entries else f"no alpha for some layers: scale {scale}"
    known = " (PaddleMIX does not write alpha; where its default of 8 was used, the true scale is 8 / rank)"
    return f"{told}, {whose}{known if kind == 'ppdiffusers' else ''}"


def _range(values: Iterable[float]) -> str:
    """``4``, or ``2 to 4``."""
    found = sorted({f"{value:g}" for value in values}, key=float)
    return found[0] if len(found) == 1 else f"{found[0]} to {found[-1]}"


def write_lora(
    path: str | Path, layers: Mapping[str, LoraLayer], metadata: Mapping[str, str], dtype: str = "float16"
) -> None:
    """Write ``layers`` under diffusers' keys, whole or not at all; `FluxPipeline.load_lora_weights` opens the file.

    Every layer has its alpha beside it, and the header has it under `lora_alpha.OWN`. It must not be in diffusers'
    own header entry too: diffusers refuses files that give it twice. Layers of different alpha are brought to the
    commonest one by a factor on ``up``, because diffusers looks alphas up by the ends of layer names.

    Args:
        path: the file to write.
        layers: by layer path; at least one.
        metadata: further entries of the header.
        dtype: of the factors: float16, bfloat16 or float32; alphas are float32.

    Raises:
        WeightsError: numbers that are not finite or that ``dtype`` cannot hold; no layers; an entry of ``metadata``
            that is taken.
    """
    taken = sorted(set(metadata) & set(_RESERVED))
    if taken:
        raise WeightsError(f"the header's entry {taken[0]!r} is written here; valid: any but {', '.join(_RESERVED)}")
    if not layers:
        raise WeightsError("a LoRA file without layers says nothing; at least one layer is needed")
    alpha = Counter(layer.alpha or 1.0 for layer in layers.values()).most_common(1)[0][0]
    tensors: dict[str, np.ndarray] = {}
    dtypes: dict[str, str] = {}
    for name, layer in layers.items():
        up = layer.up if layer.alpha == alpha else (layer.up * (layer.alpha / alpha)).astype(np.float32)
        for key, value in (("lora_A.weight", layer.down), ("lora_B.weight", up), ("alpha", np.float32(alpha))):
            tensors[f"transformer.{name}.{key}"] = np.asarray(value)
            dtypes[f"transformer.{name}.{key}"] = "float32" if key == "alpha" else dtype
    own = {"alpha": alpha, "ranks": sorted({layer.rank for layer in layers.values()})}
    write_tensors(Path(path), tensors, {"format": "pt", lora_alpha.OWN: json.dumps(own), **metadata}, dtypes)
