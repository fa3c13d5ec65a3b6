"""Distillation as a task of the trainer: roles, data and terms put together from a recipe."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import paddle

from fastdiffusers.counting import counted
from fastdiffusers.distillation.data import DataOptions, Examples, prepare
from fastdiffusers.distillation.export import export_student
from fastdiffusers.distillation.grid import PhaseGrid
from fastdiffusers.distillation.health import Blindness, Lag, Soundness, warnings
from fastdiffusers.distillation.keys import DistillConfig
from fastdiffusers.distillation.losses import number
from fastdiffusers.distillation.method import teacher_family
from fastdiffusers.distillation.networks import STUDENT, TARGET
from fastdiffusers.distillation.precision import mixed_precision
from fastdiffusers.distillation.scene import Scene
from fastdiffusers.distillation.starting import start_folder, start_from
from fastdiffusers.distillation.terms import term_class
from fastdiffusers.distillation.terms.term import Term
from fastdiffusers.distillation.turns import Turn, Turns
from fastdiffusers.distillation.validation import Validation
from fastdiffusers.models.info import describe
from fastdiffusers.training.chance import RowChance
from fastdiffusers.training.task import ParameterGroup, Step, Task


class DistillTask(Task):
    """Loss of a student's turn: the weighted sum of the terms. Opponents' turns lie between."""

    Config = DistillConfig
    config: DistillConfig

    def build(self) -> list[ParameterGroup]:
        import fastdiffusers

        config = self.config
        dtype, amp = mixed_precision(config.precision)
        self.family = teacher_family(describe(config.model))
        self.family.check(config)
        self.pipe = fastdiffusers.load(config.model, dtype)
        self.store = prepare(self.pipe, DataOptions.of(config))
        paddle.seed(config.seed)  # heads begin alike in the process that prepared examples and in those that found them
        on_cpu = paddle.get_device().startswith("cpu")
        self.networks = self.family.roles(self.family.network(self.pipe), config, config.compile and on_cpu, amp)
        if config.start:
            start_from(self.networks, start_folder(config.start, self.pipe.info, config.drawn_steps), self.family)
        if config.target_ema:
            self._start_target()
        self._notices: list[str] = []
        self._blind, self._lag, self._sound = Blindness(), Lag(), Soundness(config.stop_after)
        self._index = 0
        self.process = self.family.process(config)
        self.terms: list[Term] = [term_class(name, config.compat)(config, self.networks) for name in config.terms]
        self.opponents = [term for term in self.terms if term.groups()]
        self.turns = Turns.of(config, bool(self.opponents))
        student = ParameterGroup(STUDENT, self.networks.parameters[STUDENT])
        self._grids: dict[tuple[int, int], PhaseGrid] = {}
        return [student, *(group for term in self.opponents for group in term.groups())]

    def _start_target(self) -> None:
        """θ⁻: an adapter (or a network) that begins as the student's, and follows it as a moving average."""
        config = self.config
        if config.train == "full":
            self.networks.copy_student(TARGET)
            return
        target = self.networks.add_adapter(TARGET, config.rank, config.alpha, config.seed)
        student = self.networks.parameters[STUDENT]
        for name, parameter in target.items():
            parameter.stop_gradient = True
            parameter.set_value(student[STUDENT + name.removeprefix(TARGET)])

    @property
    def examples(self) -> int:
        return len(self.store)

    def describe(self) -> list[str]:
        roles = ["teacher: " + f"{self.pipe.info.name}, {_millions(self.networks.teacher.parameters())}"]
        for name, parameters in self.networks.parameters.items():
            roles.append(f"{name}: {_millions(parameters.values())} trained")
        for term in self.opponents:
            for group in term.groups():
                if group.name not in self.networks.parameters:
                    roles.append(f"{group.name}: {_millions(group.parameters.values())} trained")
        weights = ", ".join(
            f"{term.weight:g} × {name}" for term, name in zip(self.terms, self.config.terms, strict=True)
        )
        edges = " ".join(f"{edge:.4f}" for edge in self.grid(self.usual_size).edges)
        return [
            *roles,
            f"loss: {weights}",
            f"levels of the student's {counted(self.config.phases, 'step')}: {edges}",
            f"{len(self.store)} examples: {self.store.meta['source']}",
        ]

    @property
    def usual_size(self) -> tuple[int, int]:
        """Height and width in pixels that descriptions and validations are about: the recipe's, else the model's."""
        if self.config.resolution:
            return self.config.resolution, self.config.resolution
        setting = self.pipe.info.default_setting
        return setting.height, setting.width

    def grid(self, size: tuple[int, int]) -> PhaseGrid:
        """The levels for pictures of ``size``, (height, width) in pixels."""
        if size not in self._grids:
            self._grids[size] = self.family.grid(self.config, size)
        return self._grids[size]

    def chance(self, batch: int, first: int, count: int) -> RowChance:
        return RowChance(self.config.seed, batch, first, count)

    def batch(self, rows: np.ndarray, rng: np.random.Generator) -> Any:
        return self.store.examples(rows, rng), rng

    def scene(self, examples: Examples, rng: np.random.Generator, index: int) -> Scene:
        """Where the examples stand in step ``index``."""
        config = self.config
        count = len(examples.latents)
        grid = self.grid(examples.size)
        late = index >= config.edge_from * config.steps
        n = grid.draw(rng, count, config.edge_share if late else 0.0, config.drawn_steps)
        told = examples.guidance
        if told is None:
            told = rng.uniform(config.guidance_min, config.guidance_max, count).astype(np.float32)
        noise = rng.standard_normal(examples.latents.shape, dtype=np.float32)
        text, pooled = self._dropped(examples, rng)
        given = self.told(text, pooled, told, examples.size)
        teacher, empty, scale = given, None, None
        if config.true_guidance:
            teacher, scale = given.told(config.teacher_guidance), paddle.to_tensor(told)
            empty = teacher.untexted(*map(paddle.to_tensor, self.store.empty()))
        usual = (config.guidance_min + config.guidance_max) / 2
        student = given if config.student_guidance else given.told(usual)
        return Scene(
            self.networks,
            self.process,
            grid,
            paddle.to_tensor(examples.latents),
            paddle.to_tensor(noise),
            n,
            teacher,
            student,
            empty,
            scale,
            rng,
            index,
            examples.states,
            getattr(rng, "common", None),
        )

    def told(self, text: np.ndarray, pooled: np.ndarray, guidance: np.ndarray, size: tuple[int, int]) -> Any:
        """What networks are told of pictures of ``size``; ``guidance`` ``[B]``."""
        given = [paddle.to_tensor(values) for values in (text, pooled, guidance)]
        return self.family.conditions(self.networks, given[0], given[1], given[2], size)

    def _dropped(self, examples: Examples, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        if not self.config.caption_drop:
            return examples.text, examples.pooled
        gone = rng.random(len(examples.text)) < self.config.caption_drop
        text, pooled = self.store.empty()
        return np.where(gone[:, None, None], text, examples.text), np.where(gone[:, None], pooled, examples.pooled)

    def step(self, batch: Any, index: int) -> Step:
        examples, rng = batch
        self._index = index
        scene = self.scene(examples, rng, index)
        turn = self.turns.at(index)
        if turn is Turn.OPPONENTS:
            return self._opponents_step(scene)
        losses: list[paddle.Tensor] = []
        metrics: dict[str, float] = {}
        acting = 1 if turn is Turn.FIRST else len(self.terms)
        for i, (name, term) in enumerate(zip(self.config.terms[:acting], self.terms[:acting], strict=True)):
            loss, found = term.loss(scene)
            losses.append((term.weight * self.turns.lazy if i else term.weight) * loss)
            metrics.update({name: number(loss), **found})
            if "critic_gap" in found and (warning := self._lag(found["critic_gap"])):
                self._notices.append(warning)
        return Step(paddle.add_n(losses), frozenset({STUDENT}), metrics)

    def _opponents_step(self, scene: Scene) -> Step:
        losses: list[paddle.Tensor] = []
        metrics: dict[str, float] = {}
        for term in self.opponents:
            loss, found = term.opponent_loss(scene)
            losses.append(loss)
            metrics.update(found)
            if "d_accuracy" in found and (warning := self._blind(found["d_accuracy"])):
                self._notices.append(warning)
        names = frozenset(group.name for term in self.opponents for group in term.groups())
        return Step(paddle.add_n(losses), names, metrics)

    def buffers(self) -> Mapping[str, paddle.Tensor]:
        found = self.networks.parameters.get(TARGET, {})
        return {**found, "health.ill": self._sound.ill} if self.config.stop_after else found

    @paddle.no_grad()
    def updated(self, index: int, groups: frozenset[str]) -> None:
        decay = self.config.target_ema
        if not decay or STUDENT not in groups:
            return
        student = self.networks.parameters[STUDENT]
        for name, average in self.networks.parameters[TARGET].items():
            own = student[STUDENT + name.removeprefix(TARGET)]
            average.set_value(decay * average + (1.0 - decay) * own)

    def notices(self) -> list[str]:
        found, self._notices = self._notices, []
        return found

    @cached_property
    def validation(self) -> Validation:
        """Pictures of the student beside the teacher's."""
        return Validation(self)

    def validate(self) -> Mapping[str, float]:
        figures = self.validation.figures()
        self._notices += (found := warnings(figures))
        return {**figures, "sound": self._sound(self._index, not found)}

    def finished(self) -> str:
        return self._sound.verdict

    def sample(self) -> np.ndarray:
        return self.validation.grid()

    def export(self, folder: Path) -> dict[str, Any]:
        figures = dict(self.validate())
        figures.pop("sound")  # of use only while training
        export_student(self, folder, figures)
        return figures


def _millions(parameters: Any) -> str:
    return f"{sum(int(np.prod(p.shape)) for p in parameters) / 1e6:.2f} M parameters"
