"""Roles on the tiny FLUX, with adapters that do something, and inputs for them."""

from __future__ import annotations

from typing import Any

import numpy as np
import paddle

from fastdiffusers.caching.stack import stack_of
from fastdiffusers.distillation.networks import STUDENT, Conditions, Networks
from fastdiffusers.testing import tiny_flux

BATCH, SIDE, TOKENS = 2, 8, 5


def roles(
    rank: int = 2,
    lora: bool = True,
    targets: tuple[str, ...] = ("all",),
    layers: int = 2,
    single_layers: int = 4,
    **options: Any,
) -> Networks:
    """Fresh networks; the same for the same arguments."""
    pipe = tiny_flux(layers=layers, single_layers=single_layers)
    networks = Networks(
        pipe.transformer, stack_of(pipe.info.family), (rank, None, targets) if lora else None, **options
    )
    networks.pipe = pipe  # its folder goes with it
    return networks


def disturb(parameters: dict[str, paddle.Tensor], seed: int = 1, size: float = 0.1) -> None:
    """Random values: an adapter begins as nothing."""
    rng = np.random.default_rng(seed)
    with paddle.no_grad():
        for value in parameters.values():
            value.set_value(paddle.to_tensor((size * rng.standard_normal(value.shape)).astype(np.float32)))


def inputs(networks: Networks, seed: int = 2) -> tuple[paddle.Tensor, paddle.Tensor, Conditions]:
    """x, level and conditions of two pictures."""
    rng = np.random.default_rng(seed)

    def tensor(*shape: int) -> paddle.Tensor:
        return paddle.to_tensor(rng.standard_normal(shape).astype(np.float32))

    config = networks.teacher.config
    told = Conditions(
        tensor(BATCH, TOKENS, config.joint_attention_dim),
        tensor(BATCH, config.pooled_projection_dim),
        paddle.to_tensor(np.float32([1.0, 3.0])),
        networks.rope(SIDE, SIDE, TOKENS, BATCH),
    )
    return tensor(BATCH, (SIDE // 2) ** 2, config.in_channels), paddle.to_tensor(np.float32([0.3, 0.8])), told


def gradients(parameters: dict[str, paddle.Tensor]) -> dict[str, np.ndarray | None]:
    """What the parameters have gathered, which is then forgotten."""
    found = {name: None if value.grad is None else value.grad.numpy() for name, value in parameters.items()}
    for value in parameters.values():
        value.clear_gradient(False)
    return found


def student_gradients(networks: Networks, seed: int = 5) -> tuple[np.ndarray, dict[str, np.ndarray | None]]:
    """The student's prediction, and the gradient of a fixed linear function of it."""
    x, level, told = inputs(networks)
    out = networks.predict(STUDENT, x, level, told)
    weights = np.random.default_rng(seed).standard_normal(out.shape).astype(np.float32)
    (out * paddle.to_tensor(weights)).sum().backward()
    return out.numpy(), gradients(networks.parameters[STUDENT])
