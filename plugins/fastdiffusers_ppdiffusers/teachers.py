"""SD1.5 and SDXL as teacher and student: a UNet that predicts noise, timesteps, true guidance in the solver.

Luo et al. 2023, "Latent Consistency Models", section 4, and "LCM-LoRA"; Wang et al. 2024, "Phased Consistency Models".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import paddle

from fastdiffusers.distillation.adapter import AdapterCard
from fastdiffusers.distillation.distilled import levels_of
from fastdiffusers.distillation.grid import PhaseGrid, ddim_grid
from fastdiffusers.distillation.keys import DistillConfig
from fastdiffusers.distillation.process import LatentConsistency, VariancePreserving
from fastdiffusers.distillation.samplers import EULER, LCM
from fastdiffusers.distillation.teacher_family import Shapes, Size, TeacherFamily
from fastdiffusers.errors import InputError
from fastdiffusers.models.info import ModelInfo
from fastdiffusers.noise import picture_noise
from fastdiffusers.pipelines import pixels
from fastdiffusers.weights.lora_layer import LoraLayer
from fastdiffusers_ppdiffusers.components import build_network, save_network
from fastdiffusers_ppdiffusers.few_steps import few_step_scheduler
from fastdiffusers_ppdiffusers.roles import UNetConditions, UNetNetworks
from fastdiffusers_ppdiffusers.sampler import UNetSampler
from fastdiffusers_ppdiffusers.timesteps import TimestepWalk, betas_of, trailing_timesteps
from fastdiffusers_ppdiffusers.unet_lora import read_unet_lora, write_unet_lora

IN_WEIGHTS = 1.0
"""The guidance that pictures of an adapter are drawn with: that of the training is in its weights."""


class UNetTeachers(TeacherFamily):
    """See `TeacherFamily`."""

    own_form = "kohya"  # of the published LCM-LoRA files, which every program opens

    def __init__(self, info: ModelInfo) -> None:
        super().__init__(info)
        self.cell = info.vae_scale_factor
        self.channels = int(info.vae["latent_channels"])
        # every level of the UNet halves the sides but for the last
        self.unit = self.cell * 2 ** (len(info.transformer["block_out_channels"]) - 1)

    @cached_property
    def betas(self) -> np.ndarray:
        """β_t of the training."""
        return betas_of(self.info.scheduler())

    def check(self, config: DistillConfig) -> None:
        name, count = self.info.name, len(self.betas)
        if not config.true_guidance:
            raise InputError(f"true_guidance=false, but the UNet of {name} has no guidance input; valid: true")
        if config.compat != "none":
            raise InputError(f"compat={config.compat} is the arithmetic of a flow; for the UNet of {name} valid: none")
        if config.shift is not None:
            raise InputError(
                f"shift={config.shift:g} is of a flow's levels; the UNet of {name} has timesteps: leave it out"
            )
        if "consistency" in config.terms and config.phases > 1 and config.sampler == LCM:
            raise InputError(
                f"sampler={LCM} goes by way of the clean latent, to which a student of {config.phases} phases does not "
                f"jump; valid: sampler={EULER}, or phases=1"
            )
        if (config.phases > 1 or config.trajectories) and count % config.solver_steps:
            raise InputError(
                f"solver_steps {config.solver_steps} does not divide the {count} timesteps of {name}, so that drawing "
                "would visit others than training; valid with phases or trajectories: 20, 40, 100 …"
            )

    def network(self, pipe: Any = None) -> Any:
        return build_network(self.info.path / "unet") if pipe is None else pipe.denoiser

    def roles(
        self, network: Any, config: DistillConfig, compile: bool = False, amp: tuple[str, str] | None = None
    ) -> UNetNetworks:
        lora = (config.rank, config.alpha, config.targets) if config.train == "lora" else None
        return UNetNetworks(network, lora, config.seed, compile and not config.recompute, amp, config.recompute)

    def process(self, config: DistillConfig) -> VariancePreserving:
        """A student of one phase that is compared by its pictures has the boundary of latent consistency models."""
        whole = "consistency" in config.terms and config.phases == 1 and config.form == "x"
        return (LatentConsistency if whole else VariancePreserving)(self.betas)

    def grid(self, config: DistillConfig, size: Size) -> PhaseGrid:
        return ddim_grid(config.solver_steps, config.phases, len(self.betas))

    def levels(self, size: Size, steps: int, shift: float | None = None) -> np.ndarray:
        return trailing_timesteps(steps, len(self.betas))

    def walk(self, config: DistillConfig, size: Size, steps: int, student: bool) -> TimestepWalk:
        process = self.process(config)
        if not student:
            return TimestepWalk(process, self.levels(size, steps))
        grid = self.grid(config, size)
        return TimestepWalk(process, np.append(grid.levels[grid.visited(steps)], np.float32(0)), config.sampler)

    def conditions(self, networks: Any, text: Any, pooled: Any, guidance: Any, size: Size) -> UNetConditions:
        told = guidance if networks.has_guidance else None
        if self.info.transformer.get("addition_embed_type") != "text_time":
            return UNetConditions(text, told)
        # the size that the picture had, where it was cut, the size it has (Podell et al. 2023, "SDXL", section 2.2)
        ids = paddle.to_tensor(np.tile(np.array([*size, 0, 0, *size], np.float32), (text.shape[0], 1)))
        return UNetConditions(text, told, pooled, ids)

    @paddle.no_grad()
    def encode(self, pipe: Any, pictures: np.ndarray) -> np.ndarray:
        moments = pipe.vae.encode(paddle.to_tensor(pictures).astype(pipe.vae.parameters()[0].dtype)).latent_dist
        latents: np.ndarray = (moments.mode() * pipe.vae.config.scaling_factor).astype("float32").numpy()
        return latents

    @paddle.no_grad()
    def decode(self, pipe: Any, latents: np.ndarray, size: Size) -> np.ndarray:
        return pixels.to_unit_range(pipe.decode(paddle.to_tensor(latents)))

    @paddle.no_grad()
    def encode_captions(self, pipe: Any, captions: Sequence[str]) -> tuple[np.ndarray, np.ndarray, int]:
        told = pipe.embed(list(captions))
        text = told.hidden.astype("float32").numpy()
        pooled = np.zeros((len(text), 0), np.float32)
        if told.pooled is not None:
            pooled = told.pooled.astype("float32").numpy()
        return text, pooled, sum(map(bool, told.cut))

    def text_numbers(self, pipe: Any) -> int:
        text, pooled, _ = self.encode_captions(pipe, [""])
        return int(text.size + pooled.size)

    def noise(self, seeds: Sequence[int], size: Size) -> np.ndarray:
        shape = (self.channels, size[0] // self.cell, size[1] // self.cell)
        return np.asarray(picture_noise(shape, seeds), np.float32)

    def sampler(self, pipe: Any, batch: int, size: int, static: bool = True) -> UNetSampler:
        return UNetSampler(pipe, self, batch, size)

    def read_adapter(self, path: Path, shapes: Shapes) -> tuple[dict[str, LoraLayer], str]:
        lora = read_unet_lora(path, shapes)
        return lora.layers, lora.note

    def write_adapter(
        self,
        path: Path,
        layers: Mapping[str, LoraLayer],
        shapes: Shapes,
        header: Mapping[str, str],
        form: str,
        dtype: str = "float16",
    ) -> None:
        write_unet_lora(path, layers, shapes, header, form, dtype)

    def save_student(self, student: Any, folder: Path) -> None:
        save_network(student, folder / "unet")

    def drawn_guidance(self, config: DistillConfig) -> tuple[float, float]:
        if config.train == "full":  # it is told which
            return config.guidance_min, config.guidance_max
        return IN_WEIGHTS, IN_WEIGHTS

    def scheduler_for(self, card: AdapterCard) -> tuple[str, dict[str, Any]] | None:
        return few_step_scheduler(self.info.scheduler(), card.sampler, levels_of(card))
