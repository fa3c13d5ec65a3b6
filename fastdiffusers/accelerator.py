"""What an accelerator is: a specification that is pure data, and the object that changes a pipeline while attached.

Nothing here computes, so nothing here imports Paddle: listing, explaining and planning read specifications only.
"""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any

from fastdiffusers.errors import PluginError

if TYPE_CHECKING:
    from fastdiffusers.models.info import ModelInfo
    from fastdiffusers.recorder import Recorder


class Kind(str, Enum):
    """What an accelerator changes; each kind has a default place, counted from the inside (the weights) out."""

    DISTILL = "distill"
    QUANTIZE = "quantize"
    SCHEDULE = "schedule"
    COMPILE = "compile"
    CACHE = "cache"
    OFFLOAD = "offload"

    @property
    def place(self) -> int:
        """Position in the default order: weights first, then the schedule; compile inside, cache outside."""
        return list(Kind).index(self)


class Fidelity(str, Enum):
    """How far the picture may move: same bits, within 1e-4 of the largest value, or visibly."""

    EXACT = "exact"
    NUMERIC = "numeric"
    LOSSY = "lossy"


@dataclass(frozen=True)
class Reference:
    """A publication to cite; ``arxiv`` is the bare identifier (``2411.19108``)."""

    title: str
    authors: str
    year: int
    url: str = ""
    arxiv: str = ""
    note: str = ""


@dataclass(frozen=True)
class Setting:
    """The call a plan is made for: sampling steps, embedded guidance, picture size in pixels, pictures at once.

    ``strength`` is None for text-to-image; ``true_cfg_scale`` above 1 means that a second, unconditional branch runs;
    ``shift`` is that of the noise levels where an accelerator sets it, None the scheduler's own.
    """

    steps: int
    guidance: float
    height: int
    width: int
    batch: int = 1
    strength: float | None = None
    true_cfg_scale: float = 1.0
    shift: float | None = None


@dataclass(frozen=True)
class Factor:
    """How many times fewer seconds the evaluations of a run take, and where that figure is from, in words."""

    value: float
    source: str


@dataclass(frozen=True)
class Prediction:
    """What a plan expects: whether the accelerator will do anything, why, and how much (``skips about 14 of 28``).

    ``setting`` is what the accelerators outside this one will see (a distilled adapter changes ``steps``); None means
    unchanged. ``fidelity`` is that of these options where it is not the specification's. ``factor`` is what it buys,
    where a schedule, a measurement or a publication says so.
    """

    engages: bool
    reason: str
    effect: str = ""
    setting: Setting | None = None
    fidelity: Fidelity | None = None
    factor: Factor | None = None


@dataclass(frozen=True)
class Effect:
    """What an accelerator really did since the last generation began: did it do anything, in words and in numbers.

    In ``stats``, ``fingerprint`` is reserved: a short hash of whatever decides the picture beside the options, such as
    a calibration. It goes into the picture's record, and a picture is only drawn again where it is the same.
    """

    engaged: bool
    text: str
    stats: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class NoOptions:
    """The configuration of an accelerator without options."""


Predict = Callable[[Any, "ModelInfo", Setting], Prediction]


@dataclass(frozen=True)
class AcceleratorSpec:
    """Everything that can be known of an accelerator without running it.

    Attributes:
        name: what users type; lower case words joined by hyphens.
        kind: decides the default place in the order.
        summary: one line for tables.
        target: ``"module:Class"`` of the `Accelerator`, imported only when it is attached.
        config: a dataclass whose every field has a default; its fields are the options. Field metadata: ``help``,
            ``min``, ``max`` (both inclusive), ``choices``, ``tunable`` (a `fastdiffusers.tunable.Tunable`).
        claims: what it takes for itself (``blocks``, ``steps``, ``weights``…); two equal claims never go together.
        requires: features the pipeline must have (``blocks``, ``guidance``…).
        tags: free words that others may name in ``conflicts``, ``before`` and ``after``.
        conflicts: claims, tags or kinds of others that it cannot live with (never names).
        before: kinds, tags or names it is attached before (it lies inside them).
        after: kinds, tags or names it is attached after (it lies outside them).
        fidelity: what it may do to the picture.
        references: what to cite.
        predict: ``predict(config, model_info, setting) -> Prediction``, pure and without Paddle; raises a `UserError`
            to refuse.
        trial: options as on the command line (``mask=0/1/4/6:order=1``) with which it does something on any model in 10
            steps: what the contract kit and the table of combinations try it with. Empty: its defaults do.
        distribution: the Python distribution it came from; filled in by the registry.
    """

    name: str
    kind: Kind
    summary: str
    target: str
    config: type = NoOptions
    claims: frozenset[str] = frozenset()
    requires: frozenset[str] = frozenset()
    tags: frozenset[str] = frozenset()
    conflicts: frozenset[str] = frozenset()
    before: frozenset[str] = frozenset()
    after: frozenset[str] = frozenset()
    fidelity: Fidelity = Fidelity.LOSSY
    references: tuple[Reference, ...] = ()
    predict: Predict | None = None
    trial: str = ""
    distribution: str = ""

    def load(self) -> type[Accelerator]:
        """Import the class named by ``target``; a `PluginError` says in one line why that is not possible."""
        return load_target(self.target, Accelerator, f"accelerator {self.name!r}")


class Accelerator(ABC):
    """Changes a pipeline, only through the recorder it is given, and can say what that did.

    A detach, and the roll-back after a failed attach, undo everything recorded; a subclass undoes nothing itself.
    """

    def __init__(self, config: Any) -> None:
        self.config = config

    @abstractmethod
    def attach(self, pipe: Any, recorder: Recorder) -> None:
        """Change ``pipe`` through ``recorder.patch``, ``.state``, ``.flags``, ``.on_reset`` and ``.on_detach``."""

    @abstractmethod
    def effect(self) -> Effect:
        """What it did in the latest generation. Called after generations and once before the detach."""

    def calibrate(self, pipe: Any, prompts: list[str], progress: Callable[[int, int], None]) -> dict[str, Any]:
        """Measure on ``pipe`` what the method needs to know of this model, and return it (JSON values only).

        ``progress(done, total)`` is called once per prompt. Accelerators that need no calibration leave this alone.
        """
        raise PluginError(f"{type(self).__name__} needs no calibration")


def load_target(target: str, base: type, what: str) -> Any:
    """Import ``"module:Class"``, which must be a subclass of ``base``; every failure is a one-line `PluginError`."""
    module_name, _, attribute = target.partition(":")
    try:
        found = getattr(importlib.import_module(module_name), attribute)
    except Exception as error:
        raise PluginError(f"{what}: cannot load {target!r}: {one_line(error)}") from error
    if not (isinstance(found, type) and issubclass(found, base)):
        raise PluginError(f"{what}: {target!r} is not a subclass of {base.__module__}.{base.__qualname__}")
    return found


def one_line(error: BaseException) -> str:
    """An exception as one line: its type and its message with line breaks taken out."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
