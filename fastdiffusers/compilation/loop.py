"""The block loops that compiled programs stand behind. No Paddle."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastdiffusers.caching.stack import SpanLoop, Streams, Walk

if TYPE_CHECKING:
    from fastdiffusers.compilation.stretches import Stretches

AUTO, BLOCKS, STACK = "auto", "blocks", "stack"
SCOPES = (AUTO, BLOCKS, STACK)


class StackLoop:
    """All blocks are one program; a cache that decides between blocks cannot lie around it."""

    def __init__(self, stretches: Stretches) -> None:
        self.stretches = stretches

    def __call__(self, model: Any, image: Any, text: Any, *conditions: Any) -> Any:
        """As the plain loop: from the embedded image and text tokens to the image tokens after the last block."""
        walk = Walk(self.stretches.stack, model, image, text, conditions)
        return self.stretches.run(walk, len(walk.blocks))[0]


class StretchLoop(SpanLoop):
    """Every stretch of blocks that is asked for is one program: all of them where no cache decides between."""

    def __init__(self, stretches: Stretches) -> None:
        self.stretches = stretches

    def __call__(self, model: Any, image: Any, text: Any, *conditions: Any) -> Any:
        walk = Walk(self.stretches.stack, model, image, text, conditions, self)
        walk.run(len(walk.blocks))
        return walk.streams[0]

    def span(self, walk: Walk, stop: int) -> Streams:
        return self.stretches.run(walk, stop)


class BlocksLoop(StretchLoop):
    """Every block is a program of its own."""

    def span(self, walk: Walk, stop: int) -> Streams:
        for index in range(walk.at, stop):
            walk.jump(index + 1, self.stretches.run(walk, index + 1))
        return walk.streams


LOOPS = {AUTO: StretchLoop, BLOCKS: BlocksLoop, STACK: StackLoop}
