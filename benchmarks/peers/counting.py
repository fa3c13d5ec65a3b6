"""How much of a transformer a cache runs, seen from inside its blocks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Work:
    """What is run in each evaluation of the transformer of a FluxPipeline, for one generation.

    Attributes:
        blocks, attentions: number of blocks, and of attention modules, run in each step.
        total: number of blocks there are.
    """

    def __init__(self, pipe: Any) -> None:
        transformer = pipe.transformer
        # lists of their own: cache-dit replaces the model's
        self._double, self._single = list(transformer.transformer_blocks), list(transformer.single_transformer_blocks)
        self._entry = transformer.x_embedder
        self.total = len(self._double) + len(self._single)
        self.clear()

    def clear(self) -> None:
        self.blocks: list[int] = []
        self.attentions: list[int] = []

    def computed(self) -> float:
        """Share of the blocks' linear layers that was run.

        Attention has a third of a double block's, and a quarter of a single one's, whose output projection it shares.
        """
        share = (len(self._double) / 3 + len(self._single) / 4) / self.total
        blocks, attentions = (sum(calls) / (len(calls) * self.total) for calls in (self.blocks, self.attentions))
        return blocks - share * (blocks - attentions)

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Count while this lasts."""
        blocks = (*self._double, *self._single)
        handles = [self._entry.register_forward_hook(self._begin)]
        # a block that something stands in for does not reach its own norm
        norms = [*(block.norm1 for block in self._double), *(block.norm for block in self._single)]
        handles += [norm.register_forward_hook(self._block) for norm in norms]
        handles += [block.attn.to_q.register_forward_hook(self._attention) for block in blocks]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _begin(self, *_: Any) -> None:
        self.blocks.append(0)
        self.attentions.append(0)

    def _block(self, *_: Any) -> None:
        self.blocks[-1] += 1

    def _attention(self, *_: Any) -> None:
        self.attentions[-1] += 1
