"""How the cache engine gets hold of the loop over a transformer's blocks when that loop is written in its ``forward``.

``forward`` is left as it is. For the length of a session it iterates over a stand-in for the list of blocks, which
yields one visitor: called in place of the first block, the visitor runs the loop that can be replaced, over all blocks,
and gives back the image tokens after the last one. Further lists yield nothing. The engine is shown a view of the
transformer with the real lists.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from paddle import nn

from fastdiffusers.caching.stack import BlockStack, Walk
from fastdiffusers.errors import PlanError, PluginError
from fastdiffusers.recorder import Recorder


class PlainLoop:
    """Runs the blocks one by one."""

    def __init__(self, stack: BlockStack) -> None:
        self.stack = stack

    def __call__(self, model: Any, image: Any, text: Any, *conditions: Any) -> Any:
        """From the embedded image [B, S, C] and text [B, T, C] tokens to the image tokens after the last block."""
        walk = Walk(self.stack, model, image, text, conditions)
        walk.run(len(walk.blocks))
        return walk.streams[0]


class View:
    """A transformer as the engine sees it: its lists of blocks, and ``block_loop``, which can be set.

    All else is the transformer's own; it can be read here, and is set on ``layer``, where it has an effect.

    Attributes:
        layer: the transformer.
    """

    layer: nn.Layer
    block_loop: Callable[..., Any]

    def __init__(self, layer: nn.Layer, stack: BlockStack) -> None:
        lists = {group.layers: getattr(layer, group.layers) for group in stack.groups}
        vars(self).update(layer=layer, block_loop=PlainLoop(stack), **lists)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the transformer."""
        return self.layer(*args, **kwargs)

    def __setattr__(self, name: str, value: Any) -> None:
        if name != "block_loop":
            raise AttributeError(f"{name!r} would have no effect here; set it on `layer`, the transformer itself")
        vars(self)[name] = value

    def __getattr__(self, name: str) -> Any:
        if name == "layer":  # not set yet: a copy is being made
            raise AttributeError(name)
        return getattr(self.layer, name)


class StandIn(nn.LayerList):
    """A list of blocks whose iteration gives something else; its parameters and their names are those of the blocks."""

    def __init__(self, blocks: nn.LayerList, visitors: tuple[Callable[..., Any], ...]) -> None:
        super().__init__()
        self._sub_layers = blocks._sub_layers
        self._visitors = visitors

    def __iter__(self) -> Iterator[Any]:
        return iter(self._visitors)


def intercept(layer: nn.Layer, stack: BlockStack, recorder: Recorder) -> View:
    """Let ``layer`` run its blocks through the ``block_loop`` of the view returned, until ``recorder`` undoes it."""
    view = View(layer, stack)

    def visit(hidden_states: Any, encoder_hidden_states: Any, temb: Any, **rest: Any) -> tuple[Any, Any]:
        return encoder_hidden_states, view.block_loop(view, hidden_states, encoder_hidden_states, temb, rest)

    visitors: tuple[Callable[..., Any], ...] = (visit,)
    for group in stack.groups:
        blocks = getattr(layer, group.layers)
        if isinstance(blocks, StandIn):
            raise PlanError("the transformer of this pipeline has a session attached already; detach that one first")
        if len(blocks) == 0:
            raise PluginError(f"the transformer has no blocks in {group.layers!r}, so there is nothing to cache")
        recorder.patch(layer, group.layers, StandIn(blocks, visitors))
        visitors = ()
    return view
