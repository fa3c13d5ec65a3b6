"""Starts a student from an adapter that was trained before."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import paddle

from fastdiffusers.distillation.adapter import WEIGHTS
from fastdiffusers.distillation.networks import STUDENT, Networks
from fastdiffusers.errors import InputError
from fastdiffusers.weights.lora import read_lora


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
