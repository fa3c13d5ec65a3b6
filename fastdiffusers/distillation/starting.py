"""Starts a student from an adapter that was trained before."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fastdiffusers.distillation.adapter import CARD, WEIGHTS, find_adapters, read_card
from fastdiffusers.distillation.networks import STUDENT, Networks
from fastdiffusers.errors import InputError, one_of

if TYPE_CHECKING:
    from fastdiffusers.distillation.teacher_family import TeacherFamily
    from fastdiffusers.models.info import ModelInfo


def start_folder(start: str, info: ModelInfo, steps: int) -> Path:
    """The adapter that the recipe key ``start`` means: a path, or the name of a method that there is an adapter of.

    Of several, the one whose number of steps is nearest to ``steps``; `InputError` where there is none.
    """
    from fastdiffusers.plugins import registry

    path, methods = Path(start), registry().distillers
    if path.exists():
        return path
    if start not in methods:
        raise InputError(
            one_of("value of recipe key 'start':", start, methods) + ", or an adapter's folder that exists"
        )
    found = find_adapters(info, start)
    if not found:
        raise InputError(
            f"start={start}, but there is no {start} adapter for {info.name}; train one (fastdiff distill {start}), "
            "give start=FOLDER, or start= for the teacher itself"
        )
    return found[min(found, key=lambda made: (abs(math.log(made / steps)), made))]


def made_for(folder: Path) -> str:
    """How the student of the adapter in ``folder`` was to draw, in words; empty where it does not say."""
    if not (folder / CARD).is_file():
        return ""
    return f"made for {read_card(folder).drawing}"


def start_from(networks: Networks, folder: Path, family: TeacherFamily) -> None:
    """Set the student's adapter to the one in ``folder``: same layers, same rank; another α is made up for in B.

    Raises `InputError` for an adapter of other layers or another rank.
    """
    bank = networks.bank
    if bank is None:
        raise InputError("a student that is trained in full has no adapter to start from")
    path = folder / WEIGHTS if folder.is_dir() else folder
    found, _ = family.read_adapter(path, {name: layer.shape for name, layer in bank.layers.items()})
    missing = sorted(set(bank.layers) - set(found))
    if missing:
        raise InputError(
            f"the adapter {str(path)!r} lacks {len(missing)} of the student's layers, as {missing[0]!r}; set targets "
            "to those it was trained with"
        )
    for name, lora in found.items():
        layer = bank.layers[name]
        rank = layer.rank(STUDENT)
        if lora.rank != rank:
            raise InputError(f"the adapter {str(path)!r} has rank {lora.rank}, the student {rank}; set rank")
        factor = np.float32(lora.alpha / rank / layer.scales[STUDENT])
        layer.set_factors(STUDENT, lora.down, lora.up * factor)
