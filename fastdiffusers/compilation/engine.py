"""What an engine is: something that runs a stretch of blocks, or a network, faster than eager does. No Paddle."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from fastdiffusers.compilation.segment import Segment

Run = Callable[[Sequence[Any]], Sequence[Any]]


class Forms(Enum):
    """How the blocks are written in the programs of an engine."""

    EAGER = "as Paddle's eager kernels like them"
    FUSED = "plain, with Paddle's fused forward-only norm"
    PRIMITIVE = "plain, in operations that every exchange format has"


@dataclass(frozen=True)
class Built:
    """What an engine made of a segment: ``run(tensors) -> tensors``, and ``groups``, how many fused groups it found.

    ``groups`` is asked after the first run; engines without groups give None.
    """

    run: Run
    groups: Callable[[], int | None] = lambda: None


class Engine(ABC):
    """One way to run a segment.

    Attributes:
        name: short, for keys and records.
        label: in words, with precision.
        filed: it reads a program from files, which can be kept from one start to the next, and with it a copy of the
            weights; otherwise it runs over the model's own.
        forms: how the blocks are written in its programs.
        tolerance: greatest deviation from eager, as a share of their largest value, that is let pass.
        gains: whole networks that it is known to run faster than Paddle does eagerly, by the names of their parts.
        flags: Paddle flags that have to be set while it is attached.
    """

    name: ClassVar[str]
    filed: ClassVar[bool] = True
    forms: Forms = Forms.EAGER
    tolerance: float = 1e-4
    gains: tuple[str, ...] = ()
    flags: Mapping[str, Any] = {}

    @property
    @abstractmethod
    def label(self) -> str:
        """The engine in words, with precision."""

    @abstractmethod
    def require(self) -> None:
        """A one-line `CompileError` where it cannot run: what is missing, and what to do."""

    @abstractmethod
    def build(self, segment: Segment, files: Path | None) -> Built:
        """Make ``segment`` runnable; ``files`` is the folder of its program where the engine is ``filed``."""

    def convert(self, folder: Path) -> None:  # noqa: B027 (most engines read what Paddle writes)
        """Make of the program that Paddle has written to ``folder`` what it reads itself; nothing by default."""

    def identity(self) -> dict[str, Any]:
        """What decides the content of its files beside blocks and shapes; engines of equal identity share them."""
        return {"program": self.forms.name}
