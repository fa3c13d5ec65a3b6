"""The block loop that shows the loop inside it a transformer with fewer single blocks."""

from __future__ import annotations

from typing import Any

from fastdiff_sample_haste import HasteConfig, first_step, skipped_blocks
from fastdiffusers.accelerator import Accelerator, Effect
from fastdiffusers.recorder import Recorder


class Shallow:
    """A transformer with some single blocks missing; everything else is the transformer's own."""

    def __init__(self, model: Any, single_blocks: list[Any]) -> None:
        self._model = model
        self.single_transformer_blocks = single_blocks

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)


class Haste(Accelerator):
    """Counts what it left out in the latest generation."""

    config: HasteConfig

    def attach(self, pipe: Any, recorder: Recorder) -> None:
        """Replace the block loop by one that uses the present loop on a shallower transformer."""
        self.late = self.calls = 0
        blocks = list(pipe.transformer.single_transformer_blocks)
        self.total = len(blocks)
        left_out = set(skipped_blocks(len(blocks), self.config.skip))
        self.left_out = len(left_out)
        kept = [block for index, block in enumerate(blocks) if index not in left_out]
        inner, context = pipe.transformer.block_loop, recorder.context

        def loop(model: Any, *inputs: Any) -> Any:
            self.calls += 1
            if not left_out or not context.active or context.step < first_step(context.steps, self.config.start):
                return inner(model, *inputs)
            self.late += 1
            return inner(Shallow(model, kept), *inputs)

        recorder.patch(pipe.transformer, "block_loop", loop)
        recorder.on_reset(self._forget)

    def effect(self) -> Effect:
        """Blocks left out, over both branches."""
        stats = {"blocks_left_out": self.late * self.left_out, "blocks": self.calls * self.total}
        if not self.late:
            return Effect(False, "no single block was left out", stats)
        text = (
            f"left out {self.left_out} of {self.total} single blocks in {self.late} of {self.calls} transformer calls"
        )
        return Effect(True, text, stats)

    def _forget(self) -> None:
        self.late = self.calls = 0
