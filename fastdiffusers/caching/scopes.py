"""Where work may be left out: a scope gives the stretches of blocks that something may stand in for. No Paddle."""

from __future__ import annotations

from dataclasses import dataclass

from fastdiffusers.errors import PlanError

Span = tuple[int, int]


class Scope:
    """``spans(depth)`` are the [start, stop) stretches of a stack of ``depth`` blocks; the rest is always computed."""

    def spans(self, depth: int) -> list[Span]:
        """Raises `PlanError` when the stack is too short for this scope."""
        raise NotImplementedError


@dataclass(frozen=True)
class Stack(Scope):
    """All blocks at once. Works around any block loop, a compiled one too."""

    def spans(self, depth: int) -> list[Span]:
        return [(0, depth)]


@dataclass(frozen=True)
class Between(Scope):
    """All but the ``first`` and ``last`` blocks, at once (DBCache's Fn and Bn)."""

    first: int = 1
    last: int = 0

    def spans(self, depth: int) -> list[Span]:
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

    def spans(self, depth: int) -> list[Span]:
        cut = max(round(depth * 47 / 57), 1) if self.cut is None else self.cut
        if not 0 < cut < depth:
            raise PlanError(f"cut={cut} is no place within a stack of {depth} blocks; valid: 1 to {depth - 1}")
        return [(0, cut)]


@dataclass(frozen=True)
class Blocks(Scope):
    """Every block from ``first`` on, each for itself."""

    first: int = 0

    def spans(self, depth: int) -> list[Span]:
        if self.first >= depth:
            raise PlanError(f"first={self.first} leaves no block in a stack of {depth}; it must be below {depth}")
        return [(i, i + 1) for i in range(self.first, depth)]


@dataclass(frozen=True)
class Modules(Scope):
    """Attention and MLP outputs before their gates, in all blocks: ``kind`` is all, attention or mlp."""

    kind: str = "all"

    def spans(self, depth: int) -> list[Span]:
        return [(0, depth)]
