"""What is distilled on, as options: where examples come from, what is left out, what is kept of them. No Paddle."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, fields
from typing import Any

from fastdiffusers.errors import InputError, one_of

TEACHER = "teacher"
KINDS = ("auto", TEACHER, "csv", "folder", "laion", "prompts")


@dataclass(frozen=True)
class DataOptions:
    """The keys of a recipe that decide its examples; the names are the recipe's.

    Args:
        data: ``"teacher"`` (latents drawn by the teacher), or a path: ``metadata.csv`` or its folder, a folder of
            pictures with captions in ``.txt`` files, the root of tab-separated shards, a file of prompts.
        data_kind: how ``data`` is read; ``auto`` looks what it is.
        file_list: the list of shards, one path a line, relative to ``data``.
        prompts: file with a prompt a line for ``data="teacher"``; empty: the model's own captions.
        examples: how many are drawn or, of pictures, used at most; None: all there are (4,096 of endless captions).
        seeds_per_prompt: how many of them in a row have the same prompt (``data="teacher"`` only).
        resolution: side in pixels of a square example (of equal area with ``buckets``); None: the model's.
        buckets: pictures keep about their aspect; false: the square centre of every picture.
        min_side, min_aesthetic, max_watermark: pictures with a shorter side (pixels), a lower aesthetic score or a
            higher watermark probability are left out, as are those without the score that is asked for.
        max_unreadable: largest share of samples that cannot be read; more end the preparation.
        trajectories: keep the teacher's states on its way (``data="teacher"`` only).
        teacher_steps: Euler steps of the teacher.
        guidance_min, guidance_max: the guidance of each example is drawn uniformly between them.
        true_guidance: guide the teacher by a second evaluation with the empty caption, in place of its guidance input,
            which is told ``teacher_guidance`` then.
        solver_steps: states are kept at the noise levels of as many inference steps.
        shift: of the teacher's noise levels, and of those that states are kept at, with ``trajectories``; None: the
            model's own rule.
        state_sigmas: those noise levels themselves, falling from 1 to 0, in place of ``solver_steps``.
        seed: of captions, noise and guidance.
    """

    data: str = TEACHER
    data_kind: str = "auto"
    file_list: str = ""
    prompts: str = ""
    examples: int | None = None
    seeds_per_prompt: int = 1
    resolution: int | None = None
    buckets: bool = True
    min_side: int = 0
    min_aesthetic: float | None = None
    max_watermark: float | None = None
    max_unreadable: float = 0.05
    trajectories: bool = False
    teacher_steps: int = 28
    guidance_min: float = 3.5
    guidance_max: float = 3.5
    true_guidance: bool = False
    teacher_guidance: float = 1.0
    solver_steps: int = 4
    shift: float | None = None
    state_sigmas: tuple[float, ...] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        if self.data_kind not in KINDS:
            raise InputError(one_of("data_kind", self.data_kind, KINDS))
        ones = ("examples", "seeds_per_prompt", "resolution", "teacher_steps", "solver_steps")
        for name, bound in {**dict.fromkeys(ones, 1), "min_side": 0, "seed": 0}.items():
            value = getattr(self, name)
            if value is not None and value < bound:
                raise InputError(f"{name} is {value}; it must be at least {bound}")
        for name in ("max_unreadable", "max_watermark"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise InputError(f"{name} is {value}; valid are 0 to 1")
        if not 0 <= self.guidance_min <= self.guidance_max:
            raise InputError(
                f"guidance_min is {self.guidance_min:g} and guidance_max {self.guidance_max:g}; "
                "they must be at least 0 and in this order"
            )
        levels = self.state_sigmas
        falling = all(now > then for now, then in itertools.pairwise(levels))
        if levels and not (len(levels) > 1 and levels[0] == 1 and levels[-1] == 0 and falling):
            raise InputError(f"state_sigmas {[*levels]} must fall from 1 to 0")

    @classmethod
    def of(cls, config: Any) -> DataOptions:
        """The options among the fields of a recipe; those it does not have keep their defaults."""
        names = [item.name for item in fields(cls) if hasattr(config, item.name)]
        return cls(**{name: getattr(config, name) for name in names})
