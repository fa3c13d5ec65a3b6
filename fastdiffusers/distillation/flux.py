"""FLUX as teacher and student: packed tokens, a flow, guidance as an input of the network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from fastdiffusers.distillation.adapter import AdapterCard
from fastdiffusers.distillation.grid import PhaseGrid, flow_grid, scheduler_levels
from fastdiffusers.distillation.keys import DistillConfig
from fastdiffusers.distillation.process import Process, flow_process
from fastdiffusers.distillation.samplers import EULER, FewSteps
from fastdiffusers.distillation.teacher_family import Shapes, Size, TeacherFamily
from fastdiffusers.errors import InputError
from fastdiffusers.models.info import ModelInfo
from fastdiffusers.schedulers import FlowMatchEulerDiscreteScheduler
from fastdiffusers.weights.lora import LoraLayer, read_lora, write_kohya, write_lora


class FluxTeachers(TeacherFamily):
    """See `TeacherFamily`."""

    def __init__(self, info: ModelInfo) -> None:
        super().__init__(info)
        self.cell = self.unit = info.unit
        self.channels = 4 * int(info.vae["latent_channels"])

    @cached_property
    def scheduler(self) -> FlowMatchEulerDiscreteScheduler:
        """The model's."""
        return FlowMatchEulerDiscreteScheduler.from_config(self.info.scheduler())

    def network(self, pipe: Any = None) -> Any:
        from fastdiffusers.models.transformer_flux import FluxTransformer2DModel
        from fastdiffusers.weights.layers import build_lazy

        if pipe is not None:
            return pipe.transformer
        return build_lazy(FluxTransformer2DModel, FluxTransformer2DModel.Config.from_dict(self.info.transformer))

    def roles(
        self, network: Any, config: DistillConfig, compile: bool = False, amp: tuple[str, str] | None = None
    ) -> Any:
        from fastdiffusers.caching.stack import stack_of
        from fastdiffusers.distillation.networks import Networks

        lora = (config.rank, config.alpha, config.targets) if config.train == "lora" else None
        stack = stack_of(self.info.family)
        compile = compile and not config.recompute
        return Networks(network, stack, lora, config.seed, compile, amp, config.recompute)

    def process(self, config: DistillConfig) -> Process:
        return flow_process(config.compat)

    def grid(self, config: DistillConfig, size: Size) -> PhaseGrid:
        return flow_grid(self._shifted(config.shift), self.info.tokens(*size), config.solver_steps, config.phases)

    def levels(self, size: Size, steps: int, shift: float | None = None) -> np.ndarray:
        return scheduler_levels(self._shifted(shift), self.info.tokens(*size), steps)

    def _shifted(self, shift: float | None) -> FlowMatchEulerDiscreteScheduler:
        return FlowMatchEulerDiscreteScheduler(self.scheduler.config.shifted(shift))

    def walk(self, config: DistillConfig, size: Size, steps: int, student: bool) -> FewSteps:
        own = (config.sampler, config.shift) if student else ()
        walk = FewSteps(self.scheduler, steps, *own)
        walk.set_image_timesteps(self.info.tokens(*size))
        return walk

    def conditions(self, networks: Any, text: Any, pooled: Any, guidance: Any, size: Size) -> Any:
        from fastdiffusers.distillation.networks import Conditions

        scale = self.info.vae_scale_factor
        rope = networks.rope(size[0] // scale, size[1] // scale, text.shape[1], text.shape[0])
        return Conditions(text, pooled, guidance if networks.has_guidance else None, rope)

    def encode(self, pipe: Any, pictures: np.ndarray) -> np.ndarray:
        import paddle

        from fastdiffusers.pipelines import pixels

        moments = pipe.vae.encode(paddle.to_tensor(pictures).astype(pipe.dtype))
        latents: np.ndarray = pixels.pack(pipe.vae.scale_latents(moments.mode())).astype("float32").numpy()
        return latents

    def decode(self, pipe: Any, latents: np.ndarray, size: Size) -> np.ndarray:
        import paddle

        from fastdiffusers.pipelines import pixels

        rows, columns = (side // self.info.vae_scale_factor for side in size)
        cells = pixels.unpack(paddle.to_tensor(latents).astype(pipe.dtype), rows, columns)
        return pixels.to_unit_range(pipe.vae.decode(pipe.vae.unscale_latents(cells)))

    def encode_captions(self, pipe: Any, captions: Sequence[str]) -> tuple[np.ndarray, np.ndarray, int]:
        from fastdiffusers.evaluation.sampler import encode_prompts

        return encode_prompts(pipe, captions)

    def text_numbers(self, pipe: Any) -> int:
        config = pipe.transformer.config
        return int(pipe.tokenizer_2.max_length * config.joint_attention_dim + config.pooled_projection_dim)

    def noise(self, seeds: Sequence[int], size: Size) -> np.ndarray:
        from fastdiffusers.noise import picture_noise
        from fastdiffusers.pipelines import pixels

        rows, columns = (side // self.info.vae_scale_factor for side in size)
        packed = pixels.pack(picture_noise((self.channels // 4, rows, columns), seeds))
        return np.asarray(packed, np.float32)

    def sampler(self, pipe: Any, batch: int, size: int, static: bool = True) -> Any:
        from fastdiffusers.evaluation.sampler import Sampler

        return Sampler(pipe, batch, size, static)

    def read_adapter(self, path: Path, shapes: Shapes) -> tuple[dict[str, LoraLayer], str]:
        file = read_lora(path, _turned(shapes))
        return file.layers, file.note

    def write_adapter(
        self,
        path: Path,
        layers: Mapping[str, LoraLayer],
        shapes: Shapes,
        header: Mapping[str, str],
        form: str,
        dtype: str = "float16",
    ) -> None:
        if form == "kohya":
            write_kohya(path, layers, _turned(shapes), header, dtype)
        else:
            write_lora(path, layers, header, dtype)

    def save_student(self, student: Any, folder: Path) -> None:
        from fastdiffusers.weights.layers import save_layer

        save_layer(student, folder / "transformer")

    def drawn_guidance(self, config: DistillConfig) -> tuple[float, float]:
        if config.student_guidance and self.info.transformer.get("guidance_embeds"):
            return config.guidance_min, config.guidance_max
        middle = (config.guidance_min + config.guidance_max) / 2
        return middle, middle

    def scheduler_for(self, card: AdapterCard) -> tuple[str, dict[str, Any]] | None:
        if card.sampler != EULER:
            raise InputError(
                f"the student draws by the sampler {card.sampler}, which no stock scheduler of FLUX is; use it with "
                "--accel, or merge one that draws by euler"
            )
        if card.shift is None:
            return None
        return type(self.scheduler).__name__, self.scheduler.config.shifted(card.shift).to_dict()


def _turned(shapes: Shapes) -> dict[str, tuple[int, int]]:
    """(in, out) by path, of linear layers."""
    return {path: (shape[1], shape[0]) for path, shape in shapes.items() if len(shape) == 2}
