"""Starts a student from an adapter that was trained before."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import paddle

from fastdiffusers.distillation.adapter import WEIGHTS, find_adapters
from fastdiffusers.distillation.networks import STUDENT, Networks
from fastdiffusers.errors import InputError, one_of
from fastdiffusers.weights.lora import read_lora

if TYPE_CHECKING:
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


def start_from(networks: Networks, folder: Path) -> None:
    """Set the student's adapter to the one in ``folder``: same layers, same rank; another α is made up for in B.

    Raises `InputError` for an adapter of other layers or another rank.
    """
    bank = networks.bank
    if bank is None:
        raise InputError("a student that is trained in full has no adapter to start from")
    path = folder / WEIGHTS if folder.is_dir() else folder
    file = read_lora(path, {name: tuple(layer.base.weight.shape) for name, layer in bank.layers.items()})
    missing = sorted(set(bank.layers) - set(file.layers))
    if missing:
        raise InputError(
            f"the adapter {str(path)!r} lacks {len(missing)} of the student's layers, as {missing[0]!r}; set targets "
            "to those it was trained with"
        )
    parameters = bank.parameters(STUDENT)
    with paddle.no_grad():
        for name, lora in file.layers.items():
            first, second = (parameters[f"{STUDENT}.{name}.lora_{part}"] for part in "AB")
            rank = int(first.shape[1])
            if len(lora.down) != rank:
                raise InputError(f"the adapter {str(path)!r} has rank {len(lora.down)}, the student {rank}; set rank")
            factor = np.float32(lora.alpha / rank / bank.layers[name].scales[STUDENT])
            first.set_value(np.ascontiguousarray(lora.down.T))
            second.set_value(np.ascontiguousarray(lora.up.T) * factor)
