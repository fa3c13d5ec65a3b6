"""LoRA files in and out: our own, diffusers' (new and old keys), kohya's and ComfyUI's, PaddleMIX's. No Paddle."""

from __future__ import annotations

import difflib
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from fastdiffusers.counting import counted
from fastdiffusers.errors import WeightsError
from fastdiffusers.weights import lora_alpha
from fastdiffusers.weights.kohya import split, swapped, write_kohya
from fastdiffusers.weights.lora_layer import LoraFile, LoraLayer
from fastdiffusers.weights.lora_names import SWAPPED, Names, Shapes, of_text_encoder, part_of
from fastdiffusers.weights.tensor_file import read_tensors, write_tensors

__all__ = ["LoraFile", "LoraLayer", "read_lora", "write_kohya", "write_lora"]

_RESERVED = ("format", lora_alpha.ADAPTER, lora_alpha.OWN)


@dataclass
class _Entry:
    """What a file holds of one layer: keys and tensors by role (down, up, alpha)."""

    keys: dict[str, str] = field(default_factory=dict)
    tensors: dict[str, np.ndarray] = field(default_factory=dict)
    paths: tuple[str, ...] = ()
    original: bool = False  # a name of FLUX's original release

    def turned(self) -> tuple[np.ndarray, np.ndarray]:
        """down and up from Paddle's orientation ([in, r] and [r, out])."""
        return self.tensors["down"].T, self.tensors["up"].T

    def fits(self, shapes: Shapes) -> set[str]:
        """In which orientations, "torch" or "paddle", the factors are a low-rank change of the layer."""
        inner, outer = shapes[self.paths[0]][0], sum(shapes[path][1] for path in self.paths)
        found = set()
        for name, (down, up) in (
            ("torch", (self.tensors["down"], self.tensors["up"])),
            ("paddle", self.turned()),
        ):
            rank = down.shape[0] if down.ndim else 0
            if rank and down.shape == (rank, inner) and up.shape == (outer, rank):
                found.add(name)
        return found - {"paddle"} if self.original else found


def read_lora(path: str | Path, shapes: Shapes) -> LoraFile:
    """Read a LoRA of the network whose linear layers are ``shapes``, (in, out) by layer path.

    Names, orientation and scale are found from the file: alpha tensors first, then the header (diffusers'
    ``lora_adapter_metadata``), then alpha = rank, that is scale 1, as diffusers has it. PaddleMIX's published
    FLUX-Lightning file is known by its form and gets its true scale, 8 / rank. Layers of text encoders are ignored
    if they change nothing, and refused otherwise.

    Raises:
        WeightsError: one line with the key, its value and what is valid: a layer that the base lacks, shapes that do
            not fit, half a pair, NaN, something that is no LoRA, a pickle, a truncated file.
    """
    path = Path(path)
    tensors, metadata = read_tensors(path)
    header = lora_alpha.HeaderAlphas(metadata, path)
    entries, words = _entries(tensors, path)
    notes = _drop_text_encoders(entries, path)
    names = Names(shapes)
    for stem, entry in entries.items():
        _complete(entry, path)
        found = names.find(stem)
        if found is None:
            close = difflib.get_close_matches(stem.removeprefix("transformer."), shapes, 1, 0.0)
            raise WeightsError(
                f"{str(path)!r} holds {entry.keys['down']!r}, a layer that the base does not have; "
                f"it has {counted(len(shapes), 'linear layer')}, the closest is {close[0]!r}"
            )
        entry.paths, entry.original = found
    orientation = _orientation(entries, shapes, metadata, path)
    kind, lightning = _kind(path, metadata, entries, words, orientation, header)

    layers: dict[str, LoraLayer] = {}
    silent = 0
    for entry in entries.values():
        down, up = entry.turned() if orientation == "paddle" else (entry.tensors["down"], entry.tensors["up"])
        rank = down.shape[0]
        alpha = _alpha_tensor(entry, path)
        if alpha is None:
            alpha = header.of(entry.paths[0], rank)
        if alpha is None:
            silent += 1
            alpha = lora_alpha.LIGHTNING_ALPHA if lightning else float(rank)
        whole = LoraLayer(np.ascontiguousarray(down), np.ascontiguousarray(up), alpha)
        if entry.original and entry.paths == (SWAPPED,):
            whole = swapped(whole)
        parts = split(whole, [shapes[name][1] for name in entry.paths])
        for name, layer in zip(entry.paths, parts, strict=True):
            if name in layers:
                raise WeightsError(f"{str(path)!r} holds {name!r} twice, once as {entry.keys['down']!r}; one is needed")
            if layer is not None:
                layers[name] = layer
    notes.insert(0, _note(layers, silent, kind, lightning))
    return LoraFile(layers, kind, "; ".join(notes), metadata)


def _entries(tensors: Mapping[str, np.ndarray], path: Path) -> tuple[dict[str, _Entry], set[str]]:
    entries: dict[str, _Entry] = {}
    words = set()
    for key, tensor in tensors.items():
        part = part_of(key)
        if part is None:
            raise WeightsError(
                f"{str(path)!r} holds {key!r}, which is no part of a LoRA; valid: LAYER.lora_A.weight and "
                "LAYER.lora_B.weight, LAYER.lora_down.weight and LAYER.lora_up.weight, LAYER.alpha"
            )
        entry = entries.setdefault(part.stem, _Entry())
        if part.role in entry.keys:
            raise WeightsError(f"{str(path)!r} holds both {entry.keys[part.role]!r} and {key!r}; one of them is needed")
        entry.keys[part.role] = key
        entry.tensors[part.role] = tensor
        words.add(part.word)
    if not entries:
        raise WeightsError(f"{str(path)!r} holds no tensors; a LoRA has LAYER.lora_A.weight and LAYER.lora_B.weight")
    return entries, words


def _drop_text_encoders(entries: dict[str, _Entry], path: Path) -> list[str]:
    text = {stem: entry for stem, entry in entries.items() if of_text_encoder(stem)}
    for stem, entry in text.items():
        if all(tensor.any() for role, tensor in entry.tensors.items() if role != "alpha"):
            key = next(iter(entry.keys.values()))
            raise WeightsError(
                f"{str(path)!r} holds {key!r} and in all {counted(len(text), 'layer')} of text encoders; "
                "valid: a LoRA of the transformer alone"
            )
        del entries[stem]
    return [f"{counted(len(text), 'layer')} of text encoders ignored: all zero"] if text else []


def _complete(entry: _Entry, path: Path) -> None:
    for role in ("down", "up"):
        if role not in entry.keys:
            other = entry.keys.get("up" if role == "down" else "down") or entry.keys["alpha"]
            wanted = "lora_A or lora_down" if role == "down" else "lora_B or lora_up"
            raise WeightsError(f"{str(path)!r} holds {other!r} without its other half; {wanted} of the layer is needed")


def _orientation(entries: dict[str, _Entry], shapes: Shapes, metadata: Mapping[str, str], path: Path) -> str:
    """In which way the factors lie, as most layers that fit in only one do; with none such, as the header says."""
    fits = {stem: entry.fits(shapes) for stem, entry in entries.items()}
    votes = Counter(next(iter(found)) for found in fits.values() if len(found) == 1)
    tie = "paddle" if metadata.get("format") == "pd" else "torch"
    orientation = max(("torch", "paddle"), key=lambda name: (votes[name], name == tie))
    for stem, found in fits.items():
        if orientation not in found:
            entry = entries[stem]
            inner, outer = shapes[entry.paths[0]][0], sum(shapes[name][1] for name in entry.paths)
            down, up = (list(entry.tensors[role].shape) for role in ("down", "up"))
            raise WeightsError(
                f"{entry.keys['down']!r} in {str(path)!r} has the shape {down} and its other half {up}; valid for "
                f"{' + '.join(entry.paths)!r} of the base: [r, {inner}] and [{outer}, r]"
            )
    return orientation


def _kind(
    path: Path,
    metadata: Mapping[str, str],
    entries: Mapping[str, _Entry],
    words: set[str],
    orientation: str,
    header: lora_alpha.HeaderAlphas,
) -> tuple[str, bool]:
    """Who wrote the file, and whether it is FLUX-Lightning's."""
    if lora_alpha.OWN in metadata:
        return "fastdiffusers", False
    if any(entry.original for entry in entries.values()):
        return "kohya", False
    if orientation == "paddle" or metadata.get("format") == "pd" or path.name == "paddle_lora_weights.safetensors":
        axis = 1 if orientation == "paddle" else 0
        ranks = {entry.paths[0]: entry.tensors["down"].shape[axis] for entry in entries.values()}
        lightning = "alpha" not in words and header.default is None and lora_alpha.from_lightning(ranks)
        return ("ppdiffusers-lightning" if lightning else "ppdiffusers"), lightning
    return ("diffusers" if words <= {"lora_A", "lora_B", "alpha"} else "diffusers-old"), False


def _alpha_tensor(entry: _Entry, path: Path) -> float | None:
    tensor = entry.tensors.get("alpha")
    if tensor is None:
        return None
    if tensor.size != 1:
        raise WeightsError(
            f"{entry.keys['alpha']!r} in {str(path)!r} has the shape {list(tensor.shape)}; valid: one number"
        )
    return float(tensor.reshape(-1)[0])


def _note(layers: Mapping[str, LoraLayer], silent: int, kind: str, lightning: bool) -> str:
    ranks = sorted({layer.rank for layer in layers.values()})
    scales = sorted({round(layer.scale, 9) for layer in layers.values()})
    rank = " to ".join(str(rank) for rank in dict.fromkeys((ranks[0], ranks[-1])))
    scale = " to ".join(f"{scale:g}" for scale in dict.fromkeys((scales[0], scales[-1])))
    told = f"{counted(len(layers), 'layer')}, rank {rank}"
    if lightning:
        return (
            f"recognised FLUX-Lightning of PaddleMIX ({told}, no alpha in the file): trained with alpha "
            f"{lora_alpha.LIGHTNING_ALPHA:g} at rank {rank}, scale {scale}"
        )
    if not silent:
        return f"{told}, scale {scale}"
    whose = "no alpha in the file" if silent == len(layers) else f"no alpha for {silent} of the layers"
    known = " (PaddleMIX's default alpha is 8, and it does not write it)" if kind == "ppdiffusers" else ""
    return f"{told}, {whose}: scale 1{known}"


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
