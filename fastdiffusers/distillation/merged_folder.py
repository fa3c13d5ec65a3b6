"""A model folder with a distilled student in it: an adapter added to the weights, or a student trained in full.

The folder is of diffusers' layout as the base's is, with the scheduler that draws with the student, and with its number
of steps and its guidance as the model's own.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fastdiffusers.distillation.adapter import CARD, WEIGHTS, AdapterCard
from fastdiffusers.distillation.exporting import open_source, weight_shapes
from fastdiffusers.distillation.keys import DistillConfig
from fastdiffusers.distillation.method import teacher_family
from fastdiffusers.distillation.teacher_family import TeacherFamily
from fastdiffusers.errors import InputError, WeightsError
from fastdiffusers.files import atomic_write
from fastdiffusers.models.info import ModelInfo
from fastdiffusers.training.recipe import build_config
from fastdiffusers.weights.in_place import add_to_tensors
from fastdiffusers.weights.layout import read_json, weight_files

RESULT = "result.json"
INDEX = "model_index.json"


@dataclass(frozen=True)
class MergedFolder:
    """What was written: how many weights an adapter changed (0: the network is the student's, whole), and what draws
    with it; None where the student does not say it."""

    weights: int
    scale: float
    card: AdapterCard | None
    scheduler: str


def merge_folder(source: Path, info: ModelInfo, out: Path, scale: float = 1.0) -> MergedFolder:
    """Write the model ``info`` with the student in ``source`` to the new folder ``out``.

    ``source`` is an adapter's folder, a LoRA file, or the folder of a student that was trained in full. ``scale`` is a
    factor on an adapter. All of it is written, or nothing.

    Raises:
        InputError: ``out`` exists; a scale for a student without an adapter.
        WeightsError: a student of another model, a damaged file.
    """
    if out.exists():
        raise InputError(f"{str(out)!r} exists; a new folder is needed")
    if info.outline:
        raise InputError(f"of {info.name} only the configuration is here; a folder with weights is needed")
    try:
        return _merge(source, info, out, scale)
    except OSError as error:
        raise InputError(f"cannot write {str(out)!r}: {error.strerror or error}") from None


def _merge(source: Path, info: ModelInfo, out: Path, scale: float) -> MergedFolder:
    family = teacher_family(info)
    denoiser = info.parts.denoiser
    whole = source / denoiser
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as place:
        made = Path(place) / "model"
        shutil.copytree(info.path, made)
        if whole.is_dir() and not (source / WEIGHTS).is_file():
            if scale != 1.0:
                raise InputError(f"{str(source)!r} holds a whole {denoiser}, which no scale ({scale:g}) applies to")
            card = _card_of_result(source, info, family)
            shutil.rmtree(made / denoiser)
            shutil.copytree(whole, made / denoiser)
            changed = 0
        else:
            found = open_source(source)
            card = found.card
            scale *= 1.0 if card is None else card.scale
            changed = _add(family, found.weights, made / denoiser, scale)
        scheduler = "" if card is None else _set_scheduler(family, card, made)
        _describe(made, info, card)
        os.rename(made, out)
    return MergedFolder(changed, scale, card, scheduler)


def _add(family: TeacherFamily, weights: Path, folder: Path, scale: float) -> int:
    """Add an adapter to the weights in ``folder``; how many changed. `WeightsError` if one is not in the files."""
    shapes = weight_shapes(family)
    layers, _ = family.read_adapter(weights, shapes)

    def delta(name: str, shape: tuple[int, ...], paddle_side: bool) -> np.ndarray | None:
        layer = layers.get(name.removesuffix(".weight"))
        if layer is None or not name.endswith(".weight"):
            return None
        change = np.float32(scale) * layer.delta().reshape(shapes[name.removesuffix(".weight")])
        return np.ascontiguousarray(change.T) if paddle_side and change.ndim == 2 else change

    done = [name for file in weight_files(folder) for name in add_to_tensors(file, delta)]
    if len(done) != len(layers):
        lacking = sorted(set(layers) - {name.removesuffix(".weight") for name in done})
        raise WeightsError(f"the weights in {str(folder)!r} lack {lacking[0]!r}, which {str(weights)!r} changes")
    return len(done)


def _card_of_result(source: Path, info: ModelInfo, family: TeacherFamily) -> AdapterCard | None:
    """What the training of a whole student left behind says of its use."""
    if not (source / RESULT).is_file():
        return None
    training = read_json(source / RESULT).get("training")
    recipe = training.get("recipe") if isinstance(training, Mapping) else None
    if not isinstance(recipe, Mapping):
        return None
    config = build_config(DistillConfig, dict(recipe))
    low, high = family.drawn_guidance(config)
    use = (config.drawn_steps, config.sampler, low, high, config.shift)
    return AdapterCard(config.method, info.name, info.sha256, *use, training=dict(recipe))


def _set_scheduler(family: TeacherFamily, card: AdapterCard, folder: Path) -> str:
    """Have the folder drawn with as the student is; the scheduler's name, empty where the base's is the one."""
    found = family.scheduler_for(card)
    if found is None:
        return ""
    name, settings = found
    file = folder / "scheduler" / "scheduler_config.json"
    _write(file, {**{key: value for key, value in settings.items() if key[0] != "_"}, "_class_name": name})
    index = read_json(folder / INDEX)
    _write(folder / INDEX, {**index, "scheduler": [index["scheduler"][0], name]})
    return name


def _describe(folder: Path, info: ModelInfo, card: AdapterCard | None) -> None:
    """Say in the folder what it is, and with which steps and guidance it draws."""
    said: dict[str, Any] = {**info.card}
    if card is not None:
        usual = min(max(info.default_setting.guidance, card.guidance_min), card.guidance_max)
        said["setting"] = {"steps": card.steps, "guidance": usual}
        said["merged"] = {"method": card.method, "base": card.base, "base_sha256": card.base_sha256}
    if said:
        _write(folder / CARD, said)


def _write(file: Path, content: Mapping[str, Any]) -> None:
    with atomic_write(file) as temporary:
        temporary.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
