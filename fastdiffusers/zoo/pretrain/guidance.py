"""Teaches the guidance input: one pass with guidance g gives what classifier-free guidance gives with two.

Source: Meng et al. 2023, "On Distillation of Guided Diffusion Models", section 3.1, as FLUX.1-dev uses it. The student
starts as the base model and regresses v(∅) + g·(v(c) - v(∅)) of the frozen base, with g drawn anew for every picture.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import paddle

from fastdiffusers.models.t5_encoder import T5EncoderModel
from fastdiffusers.models.tokenizers import T5Tokenizer
from fastdiffusers.models.transformer_flux import FluxTransformer2DModel
from fastdiffusers.training.recipe import key
from fastdiffusers.training.task import ParameterGroup, Step
from fastdiffusers.weights import load_layer
from fastdiffusers.zoo.pretrain import drawing
from fastdiffusers.zoo.pretrain.flux import INPUTS, FluxConfig, FluxTask, Velocity
from fastdiffusers.zoo.pretrain.places import trained


@dataclass(frozen=True)
class GuidanceConfig(FluxConfig):
    """Recipe keys of ``fastdiff pretrain guidance``."""

    base: str = key("", "folder that `fastdiff pretrain flux` wrote; empty: its default place")
    least: float = key(1.0, "smallest guidance taught", min=0.0)
    most: float = key(8.0, "largest guidance taught", min=0.0)
    sample_guidance: float = key(3.5, "guidance of the picture grids", min=0.0)


class GuidanceTask(FluxTask):
    """Loss: squared distance between the student's velocity and the teacher's guided one.

    An empty caption has the same target at every g, so that true classifier-free guidance still works on the student.
    """

    Config = GuidanceConfig
    config: GuidanceConfig

    def build(self) -> list[ParameterGroup]:
        self._prepare()
        parts = ("transformer", "text_encoder_2", "tokenizer_2")
        transformer, text_encoder_2, tokenizer_2 = (trained(self.config.base, "flux", part) for part in parts)
        self.tokenizer_2 = T5Tokenizer.from_folder(tokenizer_2)
        self.teacher, student = (
            Velocity(load_layer(FluxTransformer2DModel, transformer), load_layer(T5EncoderModel, text_encoder_2))
            for _ in range(2)
        )
        for parameter in self.teacher.parameters():
            parameter.stop_gradient = True
        self.base_guidance = self.config.guidance
        self._finish(student)
        forward = self.teacher.forward
        self.teach = paddle.jit.to_static(forward, full_graph=True) if self.config.compile else forward
        return self._groups()

    def batch(self, rows: np.ndarray, rng: np.random.Generator) -> dict[str, paddle.Tensor]:
        batch = super().batch(rows, rng)
        scale = rng.uniform(self.config.least, self.config.most, len(rows)).astype(np.float32)
        empty = self._empty(len(rows))
        return {
            **batch,
            "guidance": paddle.to_tensor(scale),
            "base_guidance": paddle.full([len(rows)], self.base_guidance, dtype="float32"),
            "empty_ids": empty.ids,
            "empty_pooled": empty.pooled,
        }

    def target(self, batch: Mapping[str, paddle.Tensor]) -> paddle.Tensor:
        """The teacher's guided velocity."""
        rope = self.wide_rope(int(batch["x"].shape[0]))
        with paddle.no_grad():
            x, sigma, base = batch["x"], batch["sigma"], batch["base_guidance"]
            told = self.teach(x, sigma, batch["ids"], batch["pooled"], base, *rope)
            untold = self.teach(x, sigma, batch["empty_ids"], batch["empty_pooled"], base, *rope)
            return untold + batch["guidance"].reshape([-1, 1, 1]) * (told - untold)

    def step(self, batch: dict[str, paddle.Tensor], index: int) -> Step:
        error = self.predict(batch) - self.target(batch)
        return Step(paddle.mean(error * error))

    def velocity(self, x: np.ndarray, sigma: float, texts: drawing.Encoded) -> np.ndarray:
        """The velocity at one level for the picture grids, by the guidance input."""
        return self._plain(x, sigma, texts, self.config.sample_guidance)

    def validate(self) -> Mapping[str, float]:
        """Distance from the guided teacher on one fixed batch, relative to the teacher's own guidance step."""
        rng = np.random.default_rng([self.config.seed, 3])
        batch = self.batch(rng.permutation(len(self.data))[:96], rng)
        with paddle.no_grad():
            target = self.target(batch)
            error = self.model(*(batch[name] for name in INPUTS), *self.rope) - target
            plain = self.teacher(
                batch["x"], batch["sigma"], batch["ids"], batch["pooled"], batch["base_guidance"], *self.rope
            )
        distance, gap = float(paddle.mean(error * error).item()), float(paddle.mean((plain - target) ** 2).item())
        return {"fixed_loss": distance, "without_guidance": gap, "grid_recognised": self._hits}
