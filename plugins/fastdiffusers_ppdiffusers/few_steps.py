"""Draws with a distilled adapter on a UNet: its weights merged, a stock scheduler of ppdiffusers, its steps.

The sampler ``lcm`` is its LCMScheduler (Luo et al. 2023, "LCM-LoRA: A Universal Stable-Diffusion Acceleration Module"),
``euler`` its DDIMScheduler, from the last timestep down (Wang et al. 2024, "Phased Consistency Models").
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from paddle import nn

from fastdiffusers.distillation.merging import Merged, changed
from fastdiffusers.distillation.samplers import LCM
from fastdiffusers.files import sha256_file
from fastdiffusers_ppdiffusers.runtime import load_ppdiffusers
from fastdiffusers_ppdiffusers.unet_lora import read_unet_lora

GUIDANCE = 1.0
"""One branch: the guidance of the training is in the weights."""


def few_step_scheduler(settings: Mapping[str, Any], sampler: str, solver_steps: int) -> tuple[str, dict[str, Any]]:
    """Name and configuration of the scheduler that draws with a student, from that of the teacher's.

    ``solver_steps``: the levels of its training, of which the LCM scheduler visits some.
    """
    settings = {name: value for name, value in settings.items() if name != "skip_prk_steps"}  # PNDM's alone
    if sampler == LCM:
        return "LCMScheduler", {**settings, "original_inference_steps": solver_steps}
    ends = {"timestep_spacing": "trailing", "set_alpha_to_one": False, "clip_sample": False, "steps_offset": 1}
    return "DDIMScheduler", {**settings, **ends}


def draw_in_few_steps(
    pipe: Any, weights: Path, factor: float, steps: int, recorder: Any, sampler: str = LCM, solver_steps: int = 50
) -> Merged:
    """Change ``pipe``, a `StableDiffusion` with a UNet, until the recorder's detach; what was merged."""
    merged = merge_unet(pipe.denoiser, weights, factor, recorder)
    name, settings = few_step_scheduler(dict(pipe.scheduler.config), sampler, solver_steps)
    scheduler = getattr(load_ppdiffusers(), name).from_config(settings)
    inner = scheduler.set_timesteps

    @functools.wraps(inner)  # pipelines look at its signature
    def set_timesteps(num_inference_steps: int | None = None, *args: Any, **kwargs: Any) -> Any:
        return inner(steps, *args, **kwargs)

    scheduler.set_timesteps = set_timesteps
    pipe.feed.follow(scheduler, recorder)
    for runner in (pipe.pipe, pipe.image_pipe):
        recorder.patch(runner, "scheduler", scheduler)
    usual = dataclasses.replace(pipe.info.default_setting, guidance=GUIDANCE, steps=steps)
    recorder.patch(pipe, "info", dataclasses.replace(pipe.info, default_setting=usual))
    return merged


def merge_unet(unet: nn.Layer, weights: Path, factor: float, recorder: Any) -> Merged:
    """W + factor·(α/r)·B·A in place of each W, of a linear layer or a convolution, that the file changes."""
    layers = {path: layer for path, layer in unet.named_sublayers() if isinstance(layer, nn.Linear | nn.Conv2D)}
    shapes = {}
    for path, layer in layers.items():
        shape = tuple(layer.weight.shape)
        shapes[path] = shape[::-1] if isinstance(layer, nn.Linear) else shape  # torch's orientation
    lora = read_unet_lora(weights, shapes)
    for path in lora.layers:
        delta = lora.delta(path, shapes[path])
        delta = delta.T if isinstance(layers[path], nn.Linear) else delta
        recorder.patch(layers[path], "weight", changed(layers[path].weight, np.float32(factor) * delta))
    scales = {round(layer.scale, 9) for layer in lora.layers.values()}
    scale = factor * (scales.pop() if len(scales) == 1 else 1.0)
    rank = max(layer.rank for layer in lora.layers.values())
    return Merged(len(lora.layers), rank, scale, sha256_file(weights)[:12], lora.note)
