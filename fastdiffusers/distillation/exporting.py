"""A distilled adapter as other programs read it: diffusers' keys, or kohya's, which ComfyUI takes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from fastdiffusers.distillation.adapter import CARD, WEIGHTS, AdapterCard, read_card
from fastdiffusers.distillation.method import teacher_family
from fastdiffusers.distillation.teacher_family import Shapes, TeacherFamily
from fastdiffusers.errors import InputError, WeightsError, one_of
from fastdiffusers.models.info import ModelInfo
from fastdiffusers.weights.lora_layer import LoraLayer

KOHYA, DIFFUSERS = "kohya", "diffusers"
FORMATS = (KOHYA, DIFFUSERS)


@dataclass(frozen=True)
class Source:
    """An adapter to export: its weights, and its card if it has one."""

    weights: Path
    card: AdapterCard | None


@dataclass(frozen=True)
class Exported:
    """What was written: layers of the base that change, largest rank, and what is to be known of the source."""

    layers: int
    rank: int
    note: str


def open_source(path: Path) -> Source:
    """An adapter's folder, or a LoRA file (any that `read_lora` reads); `WeightsError` for anything else."""
    if path.name == WEIGHTS and (path.parent / CARD).is_file():
        path = path.parent
    if path.is_file():
        return Source(path, None)
    if not (path / WEIGHTS).is_file():
        raise WeightsError(f"{str(path)!r} holds no {WEIGHTS}; `fastdiff distill` writes it, and {CARD} beside it")
    return Source(path / WEIGHTS, read_card(path))


def export_adapter(source: Source, info: ModelInfo, form: str, out: Path, dtype: str = "float16") -> Exported:
    """Write ``source``, an adapter of the model ``info``, to ``out`` in the keys of ``form`` (`FORMATS`).

    The card's scale is put into the factors, so that the file is right at strength 1; what else the card says (method,
    steps, sampler, guidance) stands in the header, where no program looks for it: steps and guidance are to be set by
    hand there. Errors: an unknown form, a model that no adapters are trained for, an adapter that does not fit it.
    """
    if form not in FORMATS:
        raise InputError(one_of("format", form, FORMATS))
    family = teacher_family(info)
    shapes = weight_shapes(family)
    found, note = family.read_adapter(source.weights, shapes)
    factor = 1.0 if source.card is None else source.card.scale
    layers: dict[str, LoraLayer] = {
        name: layer if factor == 1.0 else replace(layer, alpha=layer.alpha * factor) for name, layer in found.items()
    }
    header = {} if source.card is None else _header(source.card)
    family.write_adapter(out, layers, shapes, header, form, dtype)
    return Exported(len(layers), max(layer.rank for layer in layers.values()), note)


def weight_shapes(family: TeacherFamily) -> Shapes:
    """Shapes of the weights of all linear layers and convolutions in torch's orientation; no weights are read."""
    from paddle import nn

    shapes = {}
    for path, layer in family.network().named_sublayers():
        if isinstance(layer, nn.Linear | nn.Conv2D):
            shape = tuple(int(side) for side in layer.weight.shape)
            shapes[path] = shape[::-1] if isinstance(layer, nn.Linear) else shape
    return shapes


def _header(card: AdapterCard) -> dict[str, str]:
    return {
        "method": card.method,
        "base": card.base,
        "base_sha256": card.base_sha256,
        "steps": str(card.steps),
        "sampler": card.sampler,
        "guidance_min": f"{card.guidance_min:g}",
        "guidance_max": f"{card.guidance_max:g}",
        **({} if card.shift is None else {"shift": f"{card.shift:g}"}),
    }
