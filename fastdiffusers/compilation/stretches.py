"""The programs of stretches of blocks."""

from __future__ import annotations

from typing import Any

from fastdiffusers.caching.stack import BlockStack, Streams, Walk
from fastdiffusers.compilation.programs import Programs
from fastdiffusers.compilation.segment import Arguments, BlockSegment


class Stretches:
    """Runs stretches of the blocks of ``model`` as ``programs``."""

    def __init__(self, programs: Programs, stack: BlockStack, model: Any) -> None:
        self.programs, self.stack, self.model = programs, stack, model

    def run(self, walk: Walk, stop: int) -> Streams:
        """The tokens of ``walk`` after the block before ``stop``."""
        arguments = Arguments(walk.streams, walk.conditions)
        span, forms = (walk.at, stop), (walk.form, walk.form_at(stop))
        text_tokens = 0 if walk.text is None else int(walk.text.shape[1])

        def make() -> BlockSegment:
            return BlockSegment(self.stack, self.model, span, forms, text_tokens, arguments)

        return self.programs.run(BlockSegment, (span, forms, text_tokens), make, arguments)
