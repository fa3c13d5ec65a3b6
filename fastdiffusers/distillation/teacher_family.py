"""What a distillation asks of a family of models: its networks, its noise, what they are told, how examples are made.

All else (losses, turns, data on disk, checkpoints, the command) is the same for all families. A family of pipelines
names its class in `PipelineFamily.teachers`. No Paddle until something is computed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from fastdiffusers.models.info import ModelInfo

if TYPE_CHECKING:
    from fastdiffusers.distillation.adapter import AdapterCard
    from fastdiffusers.distillation.grid import PhaseGrid
    from fastdiffusers.distillation.keys import DistillConfig
    from fastdiffusers.distillation.networks import Networks
    from fastdiffusers.distillation.process import Process
    from fastdiffusers.weights.lora_layer import LoraLayer

Size = tuple[int, int]
"""Height and width in pixels."""
Shapes = Mapping[str, tuple[int, ...]]
"""Shapes of the weights that adapters can change, in torch's orientation, by layer path."""


class Walk(Protocol):
    """How a picture is drawn: from one of ``sigmas`` to the next, clean at the end."""

    sigmas: np.ndarray

    def step(self, model_output: Any, i: int, sample: Any) -> Any:
        """``sample`` at level i + 1, by the network's prediction at level i."""


class TeacherFamily(ABC):
    """A model of one family as teacher and student.

    Attributes:
        info: the model.
        cell: side in pixels of what one row of latents stands for: a token, or a cell.
        channels: numbers of such a row.
        unit: what the sides of examples are multiples of, in pixels.
        own_form: the keys of `adapter.WEIGHTS`, one of `exporting.FORMATS`.
    """

    cell: int
    channels: int
    unit: int
    own_form: str = "diffusers"

    def __init__(self, info: ModelInfo) -> None:
        self.info = info

    def check(self, config: DistillConfig) -> None:  # noqa: B027 (a family may take them all)
        """`InputError` for recipe keys that mean something else for this family, or nothing."""

    @abstractmethod
    def network(self, pipe: Any = None) -> Any:
        """The network of a loaded pipeline; without one, as its configuration says, with weights that take no room."""

    @abstractmethod
    def roles(
        self, network: Any, config: DistillConfig, compile: bool = False, amp: tuple[str, str] | None = None
    ) -> Networks:
        """Teacher and student."""

    @abstractmethod
    def process(self, config: DistillConfig) -> Process:
        """How noise comes in, and how the student jumps."""

    @abstractmethod
    def grid(self, config: DistillConfig, size: Size) -> PhaseGrid:
        """The levels of training for pictures of ``size``."""

    @abstractmethod
    def levels(self, size: Size, steps: int, shift: float | None = None) -> np.ndarray:
        """What the teacher visits in ``steps`` steps, and the end: float32 ``[steps + 1]``; with another ``shift`` than
        its scheduler's where that is given, for families that know one."""

    @abstractmethod
    def walk(self, config: DistillConfig, size: Size, steps: int, student: bool) -> Walk:
        """How the student, or the teacher, draws in ``steps`` steps."""

    @abstractmethod
    def conditions(self, networks: Any, text: Any, pooled: Any, guidance: Any, size: Size) -> Any:
        """What networks are told: as `networks.Conditions`. ``guidance`` ``[B]`` is for those with an input for it."""

    @abstractmethod
    def encode(self, pipe: Any, pictures: np.ndarray) -> np.ndarray:
        """Scaled latents, float32 ``[B, …]``, of pictures float32 ``[B, 3, H, W]`` in [−1, 1]."""

    @abstractmethod
    def decode(self, pipe: Any, latents: np.ndarray, size: Size) -> np.ndarray:
        """Pictures float32 ``[B, H, W, 3]`` in [0, 1] of scaled latents."""

    @abstractmethod
    def encode_captions(self, pipe: Any, captions: Sequence[str]) -> tuple[np.ndarray, np.ndarray, int]:
        """Sequences ``[B, T, J]``, pooled vectors ``[B, P]``, float32, and how many captions were cut off."""

    @abstractmethod
    def text_numbers(self, pipe: Any) -> int:
        """How many numbers `encode_captions` gives for a caption."""

    @abstractmethod
    def noise(self, seeds: Sequence[int], size: Size) -> np.ndarray:
        """What pictures of ``seeds`` start from: float32 ``[B, …]``, as latents are."""

    @abstractmethod
    def sampler(self, pipe: Any, batch: int, size: int, static: bool = True) -> Any:
        """What draws latents as `fastdiffusers.evaluation.sampler.Sampler` does, of ``size`` × ``size`` pixels."""

    @abstractmethod
    def read_adapter(self, path: Path, shapes: Shapes) -> tuple[dict[str, LoraLayer], str]:
        """The layers of a LoRA file for a network with the weights ``shapes``, and what is to be known of it."""

    @abstractmethod
    def write_adapter(
        self,
        path: Path,
        layers: Mapping[str, LoraLayer],
        shapes: Shapes,
        header: Mapping[str, str],
        form: str,
        dtype: str = "float16",
    ) -> None:
        """Write a LoRA file in the keys of ``form``, one of `exporting.FORMATS`."""

    @abstractmethod
    def save_student(self, student: Any, folder: Path) -> None:
        """Write a student that was trained in full, in diffusers' layout, into ``folder``."""

    @abstractmethod
    def drawn_guidance(self, config: DistillConfig) -> tuple[float, float]:
        """Least and greatest guidance that pictures of the student's adapter are drawn with."""

    def scheduler_for(self, card: AdapterCard) -> tuple[str, dict[str, Any]] | None:
        """Class and configuration of the stock scheduler that draws with a student; None: the model's own does."""
        return None
