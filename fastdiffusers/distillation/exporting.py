"""A distilled adapter as other programs read it: diffusers' keys, or kohya's, which ComfyUI takes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from fastdiffusers.distillation.adapter import CARD, WEIGHTS, AdapterCard, read_card
from fastdiffusers.distillation.method import check_teacher
from fastdiffusers.errors import InputError, WeightsError, one_of
from fastdiffusers.models.info import ModelInfo
from fastdiffusers.weights.lora import read_lora, write_kohya, write_lora
from fastdiffusers.weights.lora_layer import LoraLayer
from fastdiffusers.weights.lora_names import Shapes

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
    hand there. Errors: an unknown form, a model that is no FLUX, an adapter that does not fit the model.
    """
    if form not in FORMATS:
        raise InputError(one_of("format", form, FORMATS))
    check_teacher(info)
    shapes = linear_shapes(info)
    file = read_lora(source.weights, shapes)
    factor = 1.0 if source.card is None else source.card.scale
    layers: dict[str, LoraLayer] = {
        name: layer if factor == 1.0 else replace(layer, alpha=layer.alpha * factor)
        for name, layer in file.layers.items()
    }
    header = {} if source.card is None else _header(source.card)
    if form == KOHYA:
        write_kohya(out, layers, shapes, header, dtype)
    else:
        write_lora(out, layers, header, dtype)
    return Exported(len(layers), max(layer.rank for layer in layers.values()), file.note)


def linear_shapes(info: ModelInfo) -> Shapes:
    """(in, out) of every linear layer of a FLUX transformer, from its configuration; no weights are read."""
    from paddle import nn

    from fastdiffusers.models.transformer_flux import FluxTransformer2DModel
    from fastdiffusers.weights.layers import build_lazy

    network = build_lazy(FluxTransformer2DModel, FluxTransformer2DModel.Config.from_dict(info.transformer))
    return {
        path: (int(layer.weight.shape[0]), int(layer.weight.shape[1]))
        for path, layer in network.named_sublayers()
        if isinstance(layer, nn.Linear)
    }


def _header(card: AdapterCard) -> dict[str, str]:
    return {
        "method": card.method,
        "base": card.base,
        "base_sha256": card.base_sha256,
        "steps": str(card.steps),
        "sampler": card.sampler,
        "guidance_min": f"{card.guidance_min:g}",
        "guidance_max": f"{card.guidance_max:g}",
    }
