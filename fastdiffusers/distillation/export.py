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
from fastdiffusers.weights.lora_layer import LoraLayer

if TYPE_CHECKING:
    from fastdiffusers.distillation.task import DistillTask


def export_student(task: DistillTask, folder: Path, figures: Mapping[str, Any]) -> None:
    """Write what ``--accel`` reads: the adapter's weights and its card; or, trained in full, the ``transformer/``."""
    config = task.config
    if config.train == "full":
        task.family.save_student(task.networks.student, folder)
        return
    layers = student_layers(task)
    check_merged(task, layers)
    bank = task.networks.bank
    assert bank is not None
    info = task.pipe.info
    alpha = float(config.rank if config.alpha is None else config.alpha)
    low, high = task.family.drawn_guidance(config)
    card = AdapterCard(
        method=config.method or "+".join(config.terms),
        base=info.name,
        base_sha256=info.sha256,
        steps=config.drawn_steps,
        sampler=config.sampler,
        guidance_min=low,
        guidance_max=high,
        shift=config.shift,
        rank=config.rank,
        alpha=alpha,
        metrics=dict(figures),
        training=config_to_dict(config),
    )
    header = {"method": card.method, "base_sha256": card.base_sha256}
    shapes = {path: layer.shape for path, layer in bank.layers.items()}
    task.family.write_adapter(folder / WEIGHTS, layers, shapes, header, task.family.own_form)
    write_card(folder, card)


def student_layers(task: DistillTask) -> dict[str, LoraLayer]:
    """The student's adapter in torch's orientation, convolutions as matrices."""
    bank, config = task.networks.bank, task.config
    if bank is None:
        raise InputError("the student was trained in full; it has no adapter")
    alpha = float(config.rank if config.alpha is None else config.alpha)
    return {path: LoraLayer(*layer.factors(STUDENT), alpha) for path, layer in bank.layers.items()}


def check_merged(task: DistillTask, layers: Mapping[str, LoraLayer]) -> None:
    """`InputError` unless what the file will add to the weights is what the student added in training."""
    bank = task.networks.bank
    assert bank is not None
    for path in bank.layers:  # one after the other: all together are as large as the network
        delta = bank.delta(STUDENT, path)
        own = layers[path].delta().reshape(bank.layers[path].shape)
        difference = float(np.abs((own.T if own.ndim == 2 else own) - delta).max())
        if difference > 1e-6 * max(1.0, float(np.abs(delta).max())):
            raise InputError(f"the adapter of {path!r} would be exported with an error of {difference:g}")
