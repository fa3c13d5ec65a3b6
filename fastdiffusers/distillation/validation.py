"""The student's pictures beside the teacher's of the same noise: figures for the log, and a grid to look at."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import paddle

from fastdiffusers.distillation.health import compare
from fastdiffusers.distillation.networks import STUDENT, TEACHER

if TYPE_CHECKING:
    from fastdiffusers.distillation.task import DistillTask

SEEDS = 4
"""Pictures of one prompt, so that diversity can be seen."""
TOKENS_AT_ONCE = 16384
"""Image tokens that are drawn together: all pictures of a small model, four of 1024 × 1024."""


class Validation:
    """A fixed set of prompts and seeds. The teacher draws once, the student whenever it is asked.

    Prompts are the first ones of the examples (of those, each once), at the size and the middle of the guidance that
    the student is trained for.
    """

    def __init__(self, task: DistillTask) -> None:
        self.task = task
        config = task.config
        self.size = task.usual_size
        kinds = max(1, config.validation_prompts // SEEDS)
        rows = np.arange(0, len(task.store), config.seeds_per_prompt)[: 8 * kinds]
        examples = task.store.examples(rows, np.random.default_rng(0))
        first = list({caption: i for i, caption in reversed(list(enumerate(examples.captions)))}.values())[::-1][:kinds]
        chosen = np.repeat(first, SEEDS)
        self.captions = [examples.captions[i] for i in chosen]
        count = len(chosen)
        seeds = [config.validation_seed + i for i in range(count)]
        self.noise = task.family.noise(seeds, self.size)
        guidance = (config.guidance_min + config.guidance_max) / 2
        self._texts = examples.text[chosen], examples.pooled[chosen]
        self.guidance = guidance
        self.teacher = self.draw(TEACHER, config.teacher_steps)
        self.teacher_pictures = self.decode(self.teacher)
        self._hurried = self._distance(self.draw(TEACHER, config.drawn_steps))
        self.student_pictures = self.teacher_pictures

    def draw(self, role: str, steps: int) -> np.ndarray:
        """Latents by ``steps`` steps of the teacher's scheduler, or of the student's sampler; a few at a time."""
        at_once = max(1, TOKENS_AT_ONCE // self.task.pipe.info.tokens(*self.size))
        parts = (slice(i, i + at_once) for i in range(0, len(self.noise), at_once))
        return np.concatenate([self._draw(role, steps, part) for part in parts])

    @paddle.no_grad()
    def _draw(self, role: str, steps: int, part: slice) -> np.ndarray:
        task, config = self.task, self.task.config
        walk = task.family.walk(config, self.size, steps, role == STUDENT)
        x = paddle.to_tensor(self.noise[part])
        given = self._conditions(part)
        for i, sigma in enumerate(walk.sigmas[:-1]):
            level = paddle.full([len(x)], float(sigma), dtype="float32")
            if role == TEACHER and config.true_guidance:
                told = task.networks.predict(role, x, level, given.told(config.teacher_guidance))
                empty = given.told(config.teacher_guidance).untexted(*map(paddle.to_tensor, task.store.empty()))
                untold = task.networks.predict(role, x, level, empty)
                prediction = untold + self.guidance * (told - untold)
            else:
                prediction = task.networks.predict(role, x, level, given)
            x = walk.step(prediction, i, x)
        return x.numpy()

    def _conditions(self, part: slice) -> Any:
        text, pooled = (values[part] for values in self._texts)
        return self.task.told(text, pooled, np.full(len(text), self.guidance, np.float32), self.size)

    @paddle.no_grad()
    def decode(self, latents: np.ndarray) -> np.ndarray:
        """uint8 ``[B, H, W, 3]``."""
        decode = self.task.family.decode
        some = (latents[i : i + SEEDS] for i in range(0, len(latents), SEEDS))
        pictures = np.concatenate([decode(self.task.pipe, part, self.size) for part in some])
        return (pictures * 255).round().astype(np.uint8)

    def figures(self) -> dict[str, float]:
        """Root-mean-square distance of latents from the teacher's, beside that of the teacher itself in as few steps;
        and the student's looks relative to the teacher's."""
        latents = self.draw(STUDENT, self.task.config.drawn_steps)
        self.student_pictures = self.decode(latents)
        figures = {"rmse": self._distance(latents), "teacher_rmse": self._hurried}
        return {**figures, **compare(self.student_pictures, self.teacher_pictures, SEEDS)}

    def _distance(self, latents: np.ndarray) -> float:
        return float(np.sqrt(np.mean((latents.astype(np.float64) - self.teacher) ** 2)))

    def grid(self) -> np.ndarray:
        """A row of the teacher's pictures above one of the student's, twelve a row: uint8 ``[H, W, 3]``."""
        self.student_pictures = self.decode(self.draw(STUDENT, self.task.config.drawn_steps))
        bands = []
        for i in range(0, len(self.teacher_pictures), 12):
            for row in (self.teacher_pictures[i : i + 12], self.student_pictures[i : i + 12]):
                bands.append(np.concatenate([*row, *[np.full_like(row[0], 255)] * (12 - len(row))], axis=1))
            bands.append(np.full_like(bands[-1][:4], 255))
        return np.concatenate(bands[:-1])
