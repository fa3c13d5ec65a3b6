"""A distillation method as plugins offer it: a name and recipes. No Paddle."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from fastdiffusers.accelerator import Reference, load_target
from fastdiffusers.errors import InputError, WeightsError, one_of
from fastdiffusers.models.info import ModelInfo, describe

if TYPE_CHECKING:
    from fastdiffusers.distillation.teacher_family import TeacherFamily

TASK = "fastdiffusers.distillation.task:DistillTask"
USUAL = "flux.1-dev"
"""The recipe for models without one of their own."""


def teacher_family(info: ModelInfo) -> TeacherFamily:
    """How a model is distilled; `InputError` for one of a family that cannot be."""
    from fastdiffusers.distillation.teacher_family import TeacherFamily
    from fastdiffusers.plugins import registry

    families = {name: family for name, family in registry().pipelines.items() if family.teachers}
    if info.family not in families:
        raise InputError(f"{info.name} is of the family {info.family}; distillation trains: {', '.join(families)}")
    made = load_target(families[info.family].teachers, TeacherFamily, f"distillation of the family {info.family!r}")
    return cast("TeacherFamily", made(info))


@dataclass(frozen=True)
class DistillerSpec:
    """A method that ``fastdiff distill NAME`` trains.

    Attributes:
        name: what users type.
        summary: one line for tables.
        recipes: folder of YAML files; ``flux-emoji.yaml`` is the embedded model's, ``sd15.yaml`` that of the family of
            that name, ``flux.1-dev.yaml`` that of FLUX.1's size, others are asked for by name.
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
        """The file of a recipe: by path, by name, or the shipped one for a model or its family."""
        names = self.recipe_names()
        if asked is not None:
            if asked in names:
                return self.recipes / f"{asked}.yaml"
            if Path(asked).suffix in (".yaml", ".yml"):
                return Path(asked)
            raise InputError(one_of(f"recipe of {self.name}:", asked, names) + ", or a YAML file")
        found = next((name for name in (model, _family(model)) if name in names), USUAL)
        return self.recipes / f"{found}.yaml"


def _family(model: str) -> str:
    try:
        return describe(model).family
    except WeightsError:  # said again, and louder, by what needs the model
        return ""
