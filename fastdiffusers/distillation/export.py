"""From a trained student to an adapter's folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fastdiffusers.distillation.adapter import WEIGHTS, AdapterCard, write_card
from fastdiffusers.distillation.networks import STUDENT
from fastdiffusers.errors import InputError
from fastdiffusers.training.recipe import config_to_dict
from fastdiffusers.weights.layers import save_layer
from fastdiffusers.weights.lora import LoraLayer, write_lora

if TYPE_CHECKING:
    from fastdiffusers.distillation.task import DistillTask


def export_student(task: DistillTask, folder: Path, figures: Mapping[str, Any]) -> None:
    """Write what ``--accel`` reads: the adapter's weights and its card; or, trained in full, the ``transformer/``."""
    config = task.config
    if config.train == "full":
        save_layer(task.networks.student, folder / "transformer")
        return
    layers = student_layers(task)
    check_merged(task, layers)
    info = task.pipe.info
    alpha = float(config.rank if config.alpha is None else config.alpha)
    fixed = not (config.student_guidance and task.networks.has_guidance)
    middle = (config.guidance_min + config.guidance_max) / 2
    card = AdapterCard(
        method=config.method or "+".join(config.terms),
        base=info.name,
        base_sha256=info.sha256,
        steps=config.drawn_steps,
        sampler=config.sampler,
        guidance_min=middle if fixed else config.guidance_min,
        guidance_max=middle if fixed else config.guidance_max,
        rank=config.rank,
        alpha=alpha,
        metrics=dict(figures),
        training=config_to_dict(config),
    )
    write_lora(folder / WEIGHTS, layers, {"method": card.method, "base_sha256": card.base_sha256})
    write_card(folder, card)


def student_layers(task: DistillTask) -> dict[str, LoraLayer]:
    """The student's adapter in torch's orientation."""
    bank, config = task.networks.bank, task.config
    if bank is None:
        raise InputError("the student was trained in full; it has no adapter")
    alpha = float(config.rank if config.alpha is None else config.alpha)
    parameters = bank.parameters(STUDENT)
    return {
        path: LoraLayer(
            np.ascontiguousarray(parameters[f"{STUDENT}.{path}.lora_A"].numpy().T),
            np.ascontiguousarray(parameters[f"{STUDENT}.{path}.lora_B"].numpy().T),
            alpha,
        )
        for path in bank.layers
    }


def check_merged(task: DistillTask, layers: Mapping[str, LoraLayer]) -> None:
    """`InputError` unless what the file will add to the weights is what the student added in training."""
    bank = task.networks.bank
    assert bank is not None
    for path in bank.layers:  # one after the other: all together are as large as the network
        delta = bank.delta(STUDENT, path)
        difference = float(np.abs(layers[path].delta().T - delta).max())
        if difference > 1e-6 * max(1.0, float(np.abs(delta).max())):
            raise InputError(f"the adapter of {path!r} would be exported with an error of {difference:g}")
