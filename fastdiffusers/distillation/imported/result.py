"""What an imported command became: a recipe, the line that runs it, and the end of each flag."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import Any

from fastdiffusers.distillation.imported.draft import Draft, comment, one_line
from fastdiffusers.distillation.imported.flag import Fate
from fastdiffusers.distillation.imported.launcher import LAUNCHER, Launch

RECIPE_NAME = "this.yaml"
_TITLES = {
    Fate.REFUSED: "refused: would change the result, and has no counterpart",
    Fate.WORD: "on the command line",
    Fate.DROPPED: "not needed",
}


@dataclass(frozen=True)
class Outcome:
    """The end of one flag that was given. ``value`` is as it was read; ``becomes``: recipe keys or our words."""

    flag: str
    value: str
    fate: Fate
    becomes: str
    note: str

    def to_dict(self) -> dict[str, str]:
        """As JSON holds it."""
        return {
            "flag": self.flag,
            "value": self.value,
            "fate": self.fate.value,
            "becomes": self.becomes,
            "note": self.note,
        }


@dataclass(frozen=True)
class Imported:
    """A command of the predecessor, understood."""

    method: str
    launch: Launch
    environment: dict[str, str]  # variables that our line keeps
    outcomes: tuple[Outcome, ...]
    draft: Draft

    @property
    def recipe(self) -> dict[str, Any]:
        """The recipe's keys and values."""
        return self.draft.recipe()

    @property
    def words(self) -> tuple[str, ...]:
        """The words of our command line after ``--recipe FILE``."""
        return tuple(self.draft.words)

    @property
    def refused(self) -> tuple[Outcome, ...]:
        """What has no counterpart."""
        return tuple(item for item in self.outcomes if item.fate is Fate.REFUSED)

    def command(self, recipe: str = RECIPE_NAME) -> str:
        """The line that trains with the recipe, in a file of that name."""
        front = [f"{name}={shlex.quote(value)}" for name, value in self.environment.items()]
        if self.launch.distributed:
            front += ["python", "-m", LAUNCHER, *(shlex.quote(item) for item in self.launch.launcher)]
        words = ["fastdiff", "distill", self.method, "--recipe", recipe, *self.words]
        return " ".join([*front, *(shlex.quote(item) for item in words)])

    def complaint(self) -> str:
        """One line with every refusal."""
        return "; ".join(f"{item.flag} is refused: {item.note}" for item in self.refused)

    def yaml(self, recipe: str = RECIPE_NAME) -> str:
        """The recipe with comments: the line that runs it, where each value comes from, what was dropped or refused."""
        lines = [f"# {one_line(self.command(recipe))}", "#"]
        lines += comment(f"Made by `fastdiff distill import-args` from {self.launch.script}.")
        for remark in self.draft.remarks:
            lines += comment(remark)
        lines += self._list(Fate.REFUSED)
        lines += self.draft.lines()
        lines += self._list(Fate.WORD) + self._list(Fate.DROPPED)
        return "\n".join(lines) + "\n"

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {
            "script": self.launch.script,
            "method": self.method,
            "recipe": self.recipe,
            "words": list(self.words),
            "command": self.command(),
            "flags": [item.to_dict() for item in self.outcomes],
            "remarks": list(self.draft.remarks),
        }

    def _list(self, fate: Fate) -> list[str]:
        found = [item for item in self.outcomes if item.fate is fate]
        if not found:
            return []
        lines = ["", f"# {_TITLES[fate]}"]
        for item in found:
            end = f"{item.becomes}; {item.note}" if item.becomes and item.note else item.becomes or item.note
            shown = f"{item.flag} {item.value}".rstrip()
            lines += comment(f"{shown}: {end}", "#   ", "#     ")
        return lines
