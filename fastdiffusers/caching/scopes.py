"""Where work may be left out: a scope gives the stretches of blocks that something may stand in for. No Paddle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fastdiffusers.caching.stack import Form
from fastdiffusers.errors import PlanError

Span = tuple[int, int]


class Scope:
    """``spans(forms)`` are [start, stop) stretches of the blocks, given by their forms; the rest is always computed."""

    def spans(self, forms: Sequence[Form]) -> list[Span]:
        """Raises `PlanError` when the stack is too short for this scope."""
        raise NotImplementedError


@dataclass(frozen=True)
class Stack(Scope):
    """All blocks at once. Works around any block loop, a compiled one too."""

    def spans(self, forms: Sequence[Form]) -> list[Span]:
        return [(0, len(forms))]


@dataclass(frozen=True)
class Between(Scope):
    """All but the ``first`` and ``last`` blocks, at once (DBCache's Fn and Bn)."""

    first: int = 1
    last: int = 0

    def spans(self, forms: Sequence[Form]) -> list[Span]:
        depth = len(forms)
        if self.first + self.last >= depth:
            raise PlanError(
                f"first={self.first} and last={self.last} leave no block between them in a stack of {depth} blocks; "
                f"their sum must be below {depth}"
            )
        return [(self.first, depth - self.last)]


@dataclass(frozen=True)
class Cut(Scope):
    """The blocks before ``cut``: what follows restarts from the state stored there (BlockDance).

    ``cut=None`` puts it where the publication has it, 47 / 57 of the way: before single block 28 of FLUX.1.
    """

    cut: int | None = None

    def spans(self, forms: Sequence[Form]) -> list[Span]:
        depth = len(forms)
        cut = max(round(depth * 47 / 57), 1) if self.cut is None else self.cut
        if not 0 < cut < depth:
            raise PlanError(f"cut={cut} is no place within a stack of {depth} blocks; valid: 1 to {depth - 1}")
        return [(0, cut)]


@dataclass(frozen=True)
class Blocks(Scope):
    """Every block, each for itself; in each list of blocks those from number ``first`` on."""

    first: int = 0

    def spans(self, forms: Sequence[Form]) -> list[Span]:
        kept = [i for i, form in enumerate(forms) if i - forms.index(form) >= self.first]
        if not kept:
            raise PlanError(f"first={self.first} leaves no block: the longest list has {_longest(forms)}")
        return [(i, i + 1) for i in kept]


@dataclass(frozen=True)
class Modules(Scope):
    """Attention and MLP outputs before their gates, in all blocks: ``kind`` is all, attention or mlp."""

    kind: str = "all"

    def spans(self, forms: Sequence[Form]) -> list[Span]:
        return [(0, len(forms))]


def _longest(forms: Sequence[Form]) -> int:
    return max(forms.count(form) for form in forms)
