"""The tensors of a LoRA file by layer: complete pairs, on layers that the base has, and which way they lie."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from fastdiffusers.counting import counted
from fastdiffusers.errors import WeightsError
from fastdiffusers.weights.lora_names import Names, Shapes, block_indices, of_text_encoder, part_of


@dataclass
class Entry:
    """What a file holds of one layer, in its own words.

    ``keys`` and ``tensors`` by role (down, up, alpha); ``word`` is what the file calls its down; ``paths`` are the
    base's layers that it means, several where it is a fused one; ``original`` says that the name is one of FLUX's
    original release.
    """

    keys: dict[str, str] = field(default_factory=dict)
    tensors: dict[str, np.ndarray] = field(default_factory=dict)
    word: str = ""
    paths: tuple[str, ...] = ()
    original: bool = False

    def factors(self, orientation: str = "torch") -> tuple[np.ndarray, np.ndarray]:
        """down [r, in] and up [out, r]; ``paddle`` is how they lie in the file if not so: [in, r] and [r, out]."""
        down, up = self.tensors["down"], self.tensors["up"]
        return (down.T, up.T) if orientation == "paddle" else (down, up)

    def size(self, shapes: Shapes) -> tuple[int, int]:
        """(in, out) of the layer, of all parts together where it is fused."""
        return shapes[self.paths[0]][0], sum(shapes[path][1] for path in self.paths)

    def fits(self, shapes: Shapes) -> set[str]:
        """The orientations in which the factors are a low-rank change of the layer."""
        found = set()
        # fused layers are written by torch programs only
        for name in ("torch",) if self.original else ("torch", "paddle"):
            down, up = self.factors(name)
            inner, outer = self.size(shapes)
            rank = down.shape[0] if down.ndim else 0
            if rank and down.shape == (rank, inner) and up.shape == (outer, rank):
                found.add(name)
        return found

    def alpha(self, path: Path) -> float | None:
        """The alpha tensor's number, None if there is none."""
        tensor = self.tensors.get("alpha")
        if tensor is None:
            return None
        if tensor.size != 1:
            raise WeightsError(
                f"{self.keys['alpha']!r} in {str(path)!r} has the shape {list(tensor.shape)}; valid: one number"
            )
        return float(tensor.reshape(-1)[0])


def collect(tensors: Mapping[str, np.ndarray], shapes: Shapes, path: Path) -> tuple[list[Entry], list[str]]:
    """The transformer's layers of a file, and the names of text encoders' that were left out as they change nothing.

    Errors: a key that is no part of a LoRA, a part that comes twice or whose other half is missing, a layer that the
    base lacks, text encoders that were trained.
    """
    entries: dict[str, Entry] = {}
    for key, tensor in tensors.items():
        part = part_of(key)
        if part is None:
            raise WeightsError(
                f"{str(path)!r} holds {key!r}, which is no part of a LoRA; valid: LAYER.lora_A.weight and "
                "LAYER.lora_B.weight, LAYER.lora_down.weight and LAYER.lora_up.weight, LAYER.alpha"
            )
        entry = entries.setdefault(part.stem, Entry())
        if part.role in entry.keys:
            raise WeightsError(f"{str(path)!r} holds both {entry.keys[part.role]!r} and {key!r}; one of them is needed")
        entry.keys[part.role] = key
        entry.tensors[part.role] = tensor
        if part.role == "down":
            entry.word = part.word
    ignored = _drop_text_encoders(entries, path)
    if not entries:
        raise WeightsError(f"{str(path)!r} holds no layer of a transformer; a LoRA of one is needed")
    names = Names(shapes)
    for stem, entry in entries.items():
        _complete(entry, path)
        found = names.find(stem)
        if found is None:
            raise _lacking(stem, entry, shapes, path)
        entry.paths, entry.original = found
    return list(entries.values()), ignored


def _drop_text_encoders(entries: dict[str, Entry], path: Path) -> list[str]:
    text = {stem: entry for stem, entry in entries.items() if of_text_encoder(stem)}
    for stem, entry in text.items():
        if all(tensor.any() for role, tensor in entry.tensors.items() if role != "alpha"):
            raise WeightsError(
                f"{str(path)!r} holds {next(iter(entry.keys.values()))!r} and in all "
                f"{counted(len(text), 'layer')} of text encoders; valid: a LoRA of the transformer alone"
            )
        del entries[stem]
    return list(text)


def _complete(entry: Entry, path: Path) -> None:
    for role, other, words in (("down", "up", "lora_A or lora_down"), ("up", "down", "lora_B or lora_up")):
        if role not in entry.keys:
            present = entry.keys.get(other) or entry.keys["alpha"]
            raise WeightsError(f"{str(path)!r} holds {present!r}, but not the layer's {words}, which is needed with it")


def _lacking(stem: str, entry: Entry, shapes: Shapes, path: Path) -> WeightsError:
    close = difflib.get_close_matches(stem.removeprefix("transformer."), shapes, 1, 0.0)
    blocks = [counted(len(block_indices(shapes, kind)), f"{word} block") for kind, word in _BLOCKS]
    return WeightsError(
        f"{str(path)!r} holds {entry.keys['down']!r}, a layer that the base does not have; valid: the layers of its "
        f"{' and '.join(blocks)} and around them, the closest is {''.join(close)!r}"
    )


_BLOCKS = (("", "double"), ("single_", "single"))


def orientation(entries: list[Entry], shapes: Shapes, metadata: Mapping[str, str], path: Path) -> str:
    """``torch`` or ``paddle``, as most layers that fit in only one; with none such, as the header's format says.

    Error: a layer whose shapes do not fit in that way.
    """
    fits = [entry.fits(shapes) for entry in entries]
    votes = Counter(next(iter(found)) for found in fits if len(found) == 1)
    tie = "paddle" if metadata.get("format") == "pd" else "torch"
    chosen = max(("torch", "paddle"), key=lambda name: (votes[name], name == tie))
    for entry, found in zip(entries, fits, strict=True):
        if chosen not in found:
            inner, outer = entry.size(shapes)
            down, up = (list(tensor.shape) for tensor in entry.factors())
            raise WeightsError(
                f"{entry.keys['down']!r} in {str(path)!r} has the shape {down} and its other half {up}; valid for the "
                f"base's {' + '.join(entry.paths)}: [r, {inner}] and [{outer}, r]"
            )
    return chosen
