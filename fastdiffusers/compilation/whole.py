"""Whole networks of a pipeline that a compiler can run: the VAE's decoder, the text encoders. No Paddle until used."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fastdiffusers.compilation.loop import AUTO
from fastdiffusers.errors import CompileError, PlanError

if TYPE_CHECKING:
    from fastdiffusers.compilation.programs import Programs

TRANSFORMER, VAE, TEXT = "transformer", "vae", "text"
PARTS = (AUTO, TRANSFORMER, VAE, TEXT)


@dataclass(frozen=True)
class WholeNetwork:
    """A network that takes tensors, and gives a tensor or a tuple of them.

    Attributes:
        name: in words.
        path: where it is below the pipeline, ``vae.decoder``.
        many: whether it gives a tuple.
        early: whether it runs before a generation begins.
    """

    name: str
    path: str
    many: bool = False
    early: bool = False

    def of(self, pipe: Any) -> Any:
        """The layer in ``pipe``, or None where a pipeline has none there."""
        found = pipe
        for name in self.path.split("."):
            found = getattr(found, name, None)
        return found


Compilable = Mapping[str, tuple[WholeNetwork, ...]]  # by the name of the part


def compilable_of(family: str) -> Compilable:
    """What a family of pipelines has to compile besides the transformer's blocks."""
    from fastdiffusers.plugins import registry

    known = registry().pipelines.get(family)
    return {} if known is None else known.compilable


def chosen_parts(config: Any, compilable: Compilable, gains: Sequence[str]) -> tuple[str, ...]:
    """The parts to compile: those that ``config`` asks for, or the transformer and what the engine ``gains`` from.

    Raises `PlanError` for ``auto`` beside others, for what pipelines of this family do not offer, and for a ``dtype``
    where the transformer, which alone computes in it, is left out.
    """
    asked, dtype = tuple(config.parts), getattr(config, "dtype", AUTO)
    words = f"parts={'/'.join(asked)}"
    if not asked:
        raise PlanError("parts is empty; name transformer, vae or text, with / between several")
    if AUTO in asked:
        if len(asked) > 1:
            raise PlanError(f"{words}: auto chooses for itself; leave it or the others out")
        return (TRANSFORMER, *(part for part in gains if compilable.get(part)))
    for part in asked:
        if part != TRANSFORMER and not compilable.get(part):
            valid = ", ".join((TRANSFORMER, *(name for name, networks in compilable.items() if networks)))
            raise PlanError(f"{words}: this family of pipelines has no {part} to compile; valid: {valid}")
    if TRANSFORMER not in asked and dtype != AUTO:
        raise PlanError(f"dtype={dtype} is for the transformer's blocks, which {words} leaves alone; leave one out")
    return tuple(dict.fromkeys(asked))


class WholeCall:
    """Stands in a layer's ``forward`` and answers with programs.

    Weights are looked at before every call. What runs before a generation begins counts for the next one, as do calls
    that a user makes beside.
    """

    def __init__(self, network: WholeNetwork, layer: Any, programs: Programs) -> None:
        self.network, self.layer, self.programs = network, layer, programs
        self.forward_of = layer.forward
        self._counted = False

    def begin(self) -> None:
        """A generation begins: what belongs to it counts anew."""
        self._counted = True
        if not self.network.early:
            self.programs.count_anew()

    def __call__(self, *given: Any, **named: Any) -> Any:
        from fastdiffusers.compilation.segment import Arguments, WholeSegment

        if self._counted and self.network.early:
            self.programs.count_anew()
        self._counted = False
        self.programs.look()
        arguments = Arguments(self._in_order(given, named), ())

        def make() -> WholeSegment:
            return WholeSegment(self.network.name, self.layer, self.forward_of, arguments)

        found = self.programs.run(WholeSegment, (self.network.path,), make, arguments)
        return found if self.network.many else found[0]

    def _in_order(self, given: tuple[Any, ...], named: Mapping[str, Any]) -> tuple[Any, ...]:
        if not named:
            return given
        bound = inspect.signature(self.forward_of).bind(*given, **named)
        if bound.kwargs:
            raise CompileError(f"{self.network.name} is compiled and takes no {', '.join(bound.kwargs)}")
        return bound.args
