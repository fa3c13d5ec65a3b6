"""A distillation method as plugins offer it: a name and recipes. No Paddle."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fastdiffusers.accelerator import Reference
from fastdiffusers.errors import InputError, one_of

if TYPE_CHECKING:
    from fastdiffusers.models.info import ModelInfo

TASK = "fastdiffusers.distillation.task:DistillTask"
FAMILIES = ("flux",)
"""Whose networks can be teachers and students."""


def check_teacher(info: ModelInfo) -> None:
    """`InputError` for a model of another family."""
    if info.family not in FAMILIES:
        raise InputError(f"{info.name} is of the family {info.family}; distillation trains: {', '.join(FAMILIES)}")


@dataclass(frozen=True)
class DistillerSpec:
    """A method that ``fastdiff distill NAME`` trains.

    Attributes:
        name: what users type.
        summary: one line for tables.
        recipes: folder of YAML files; ``flux-emoji.yaml`` is the embedded model's, ``flux.1-dev.yaml`` that of FLUX.1's
            size, others are asked for by name.
        accelerator: the accelerator that uses its adapters.
        target: ``"module:Class"`` of the task that trains it.
        references: what to cite.
    """

    name: str
    summary: str
    recipes: Path
    accelerator: str
    target: str = TASK
    references: tuple[Reference, ...] = ()

    def recipe_names(self) -> list[str]:
        """Names of the shipped recipes."""
        return sorted(file.stem for file in self.recipes.glob("*.yaml"))

    def recipe(self, asked: str | None, model: str) -> Path:
        """The file of a recipe: by path, by name, or the shipped one for a model."""
        names = self.recipe_names()
        if asked is not None:
            if asked in names:
                return self.recipes / f"{asked}.yaml"
            if Path(asked).suffix in (".yaml", ".yml"):
                return Path(asked)
            raise InputError(one_of(f"recipe of {self.name}:", asked, names) + ", or a YAML file")
        return self.recipes / (f"{model}.yaml" if model in names else "flux.1-dev.yaml")
