"""Whole networks of a pipeline that a compiler can run: the VAE's decoder, the text encoders. No Paddle until used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fastdiffusers.errors import PlanError

if TYPE_CHECKING:
    from fastdiffusers.compilation.programs import Programs

AUTO, TRANSFORMER, VAE, TEXT = "auto", "transformer", "vae", "text"
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
        """The layer in ``pipe``."""
        found = pipe
        for name in self.path.split("."):
            found = getattr(found, name)
        return found


Compilable = Mapping[str, tuple[WholeNetwork, ...]]  # by the name of the part


def chosen_parts(asked: Sequence[str], compilable: Compilable, gains: Sequence[str]) -> tuple[str, ...]:
    """The parts to compile: those asked for, or for ``auto`` the transformer and what the engine ``gains`` from.

    Raises `PlanError` for ``auto`` beside others, and for what pipelines of this family do not offer.
    """
    if AUTO in asked:
        if len(asked) > 1:
            raise PlanError(f"parts={'/'.join(asked)}: auto chooses for itself; leave it or the others out")
        return (TRANSFORMER, *(part for part in gains if part in compilable))
    for part in asked:
        if part != TRANSFORMER and part not in compilable:
            valid = ", ".join((TRANSFORMER, *compilable))
            raise PlanError(
                f"parts={'/'.join(asked)}: this family of pipelines has no {part} to compile; valid: {valid}"
            )
    if not asked:
        raise PlanError("parts is empty; name transformer, vae or text, with / between several")
    return tuple(dict.fromkeys(asked))


class WholeCall:
    """Stands in a layer's ``forward`` and answers with programs."""

    def __init__(self, network: WholeNetwork, layer: Any, programs: Programs) -> None:
        self.network, self.layer, self.programs = network, layer, programs
        self.forward_of = layer.forward
        self._new = True

    def begin(self) -> None:
        """A generation begins. What runs before that looks at its weights, and counts anew, when it is called next."""
        self._new = True
        if not self.network.early:
            self._look()

    def __call__(self, *given: Any) -> Any:
        from fastdiffusers.compilation.segment import Arguments, WholeSegment

        if self._new:
            self._look()
        arguments = Arguments(given, ())

        def make() -> WholeSegment:
            return WholeSegment(self.network.name, self.layer, self.forward_of, arguments)

        found = self.programs.run((self.network.path,), make, arguments)
        return found if self.network.many else found[0]

    def _look(self) -> None:
        self._new = False
        self.programs.begin()
