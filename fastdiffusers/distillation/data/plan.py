"""What is to be prepared, decided before anything is: sizes, noise levels, and the name that all of it hashes to."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from fastdiffusers.distillation.data.buckets import Size, bucket_sizes
from fastdiffusers.distillation.data.files import CHUNK, FORMAT
from fastdiffusers.distillation.data.options import DataOptions
from fastdiffusers.distillation.data.sources.base import Source
from fastdiffusers.distillation.data.sources.prompts import PromptSource
from fastdiffusers.distillation.data.sourcing import source
from fastdiffusers.distillation.method import teacher_family
from fastdiffusers.distillation.teacher_family import TeacherFamily
from fastdiffusers.errors import InputError
from fastdiffusers.models.info import ModelInfo

SAME = 1e-5
"""Noise levels that differ by less are one."""
FIRST_SEED, SEEDS_APART, SERIES = 2**30, 2**20, 2**11
_CHANCE = 5


@dataclass(frozen=True)
class Plan:
    """A preparation of ``found``'s samples for a model.

    Attributes:
        family: the teacher, as its family is distilled.
        options, found: what is asked for, and the source it names.
        sizes: the sizes that examples may have, the square first.
        sigmas: for drawn latents the teacher's noise levels, float32 ``[steps + 1]``; else None.
        at: at which of them states are kept, the first and the last included; empty without trajectories.
        dtype: what the model computes in.
    """

    family: TeacherFamily
    options: DataOptions
    found: Source
    sizes: tuple[Size, ...]
    sigmas: np.ndarray | None
    at: tuple[int, ...]
    dtype: str

    @property
    def info(self) -> ModelInfo:
        """What is known of the teacher."""
        return self.family.info

    @property
    def channels(self) -> int:
        """Numbers of a token of latents (FLUX's are packed), or of a cell."""
        return self.family.channels

    @property
    def cell(self) -> int:
        """Its side in pixels."""
        return self.family.cell

    @property
    def drawn(self) -> bool:
        """Whether the teacher draws the latents."""
        return self.sigmas is not None

    @property
    def resolution(self) -> int:
        """Side of the square size in pixels."""
        return self.sizes[0][0]

    def tokens(self, size: Size) -> int:
        """Tokens, or cells, of an example's latents."""
        return (size[0] // self.cell) * (size[1] // self.cell)

    @property
    def captions(self) -> list[str]:
        """The captions of drawn examples, in order."""
        assert isinstance(self.found, PromptSource)
        return self.found.captions

    @property
    def embedded(self) -> float | None:
        """What the guidance input is told under true guidance; None when it is told the guidance itself."""
        return self.options.teacher_guidance if self.options.true_guidance else None

    @property
    def evaluations(self) -> int:
        """Evaluations of the transformer for a drawn example."""
        steps = 0 if self.sigmas is None else len(self.sigmas) - 1
        return steps if self.embedded is None else 2 * steps

    @property
    def first_seed(self) -> int:
        """Seed of the first drawn example's noise, far from the small ones that pictures are usually drawn with."""
        return FIRST_SEED + self.options.seed % SERIES * SEEDS_APART

    @cached_property
    def guidance(self) -> np.ndarray:
        """What each drawn example is drawn with: float32 ``[examples]``."""
        rng = np.random.default_rng([self.options.seed, _CHANCE])
        low, high = self.options.guidance_min, self.options.guidance_max
        return rng.uniform(low, high, len(self.captions)).astype(np.float32)

    @cached_property
    def record(self) -> dict[str, Any]:
        """Everything that decides the stored numbers."""
        options = self.options
        record: dict[str, Any] = {
            "format": FORMAT,
            "chunk": CHUNK,
            "model": self.info.sha256,
            "dtype": self.dtype,
            "kind": self.found.kind,
            "source": self.found.fingerprint(),
            "sizes": [list(size) for size in self.sizes],
        }
        if self.sigmas is None:
            names = ("examples", "min_side", "min_aesthetic", "max_watermark")
            return {**record, **{name: getattr(options, name) for name in names}}
        record["sigmas"] = self.sigmas.tolist()
        record["states"] = list(self.at)
        record["embedded"] = self.embedded
        return {**record, "guidance": [options.guidance_min, options.guidance_max], "seed": options.seed}

    @property
    def name(self) -> str:
        """Of the folder: readable, and unique by a hash of `record`."""
        digest = hashlib.sha256(json.dumps(self.record, sort_keys=True).encode()).hexdigest()
        return f"{self.found.kind}-{self.resolution}-{digest[:16]}"


def make_plan(pipe: Any, options: DataOptions) -> Plan:
    """The plan for a pipeline; `InputError` for options that do not fit it, and for data that is not there."""
    info = pipe.info
    if info is None:
        raise InputError("a pipeline without files cannot be a teacher; save it and load it from its folder")
    family = teacher_family(info)
    resolution = options.resolution or info.default_setting.height
    found = source(options, info)
    drawn = isinstance(found, PromptSource)
    sizes = tuple(bucket_sizes(resolution, family.unit, options.buckets and not drawn))
    sigmas: np.ndarray | None = None
    at: tuple[int, ...] = ()
    if drawn:
        sigmas, at = teacher_levels(family, sizes[0], options)
    dtype = str(pipe.dtype).rpartition(".")[2]
    return Plan(family, options, found, sizes, sigmas, at, dtype)


def teacher_levels(family: TeacherFamily, size: Size, options: DataOptions) -> tuple[np.ndarray, tuple[int, ...]]:
    """The teacher's noise levels, and at which of them ``options`` keep states (none without trajectories).

    One between two of the teacher's levels becomes a level of its own, so that every one is met exactly.
    """
    shift = options.shift if options.trajectories else None
    sigmas = family.levels(size, options.teacher_steps, shift)
    if not options.trajectories:
        return sigmas, ()
    kept = family.levels(size, options.solver_steps, shift)
    if options.state_sigmas:
        kept = np.asarray(options.state_sigmas, np.float32)
    apart = sigmas[np.abs(sigmas[:, None] - kept[None]).min(axis=1) > SAME]
    merged = np.sort(np.concatenate([apart, kept]))[::-1].astype(np.float32)
    return merged, tuple(int(i) for i in np.flatnonzero(np.isin(merged, kept)))
