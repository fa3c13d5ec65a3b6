"""A transformer's blocks as data, so that one engine drives FLUX, SD3 or anybody's. No Paddle.

Tokens go through the blocks in one of three forms: image and text apart, both in one sequence, and at the end the
image alone. A stack says for each list of blocks which form it takes, how a block is run, and what its probe is.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from fastdiffusers.accelerator import load_target
from fastdiffusers.errors import PluginError

Streams = tuple[Any, ...]  # the tensors of a form, each [B, tokens, C]
Conditions = tuple[Any, ...]  # what every block is given besides tokens: time embedding, rotary table …


class Form(Enum):
    """Which tensors carry the tokens."""

    APART = "image and text apart"
    JOINT = "one sequence"
    IMAGE = "the image alone"


@dataclass(frozen=True)
class ModuleSet:
    """Parts of a block whose outputs, before the gates, something may stand in for.

    ``methods`` are pairs (path below the block, name of the method), an empty path being the block itself; ``share`` is
    the part of the block's linear layers that is left out with them.
    """

    methods: tuple[tuple[str, str], ...]
    share: float


@dataclass(frozen=True)
class BlockGroup:
    """A list of blocks that are called in the same way.

    Attributes:
        layers: the transformer's attribute that holds them.
        count: the key of the transformer's configuration that says how many there are.
        form: in which form they take and give the tokens.
        run: ``run(block, streams, conditions) -> streams``.
        probe: ``probe(block, streams, conditions) -> tensor``: the block's modulated input (for separate streams the
            image's), from which caches see how much a step changes.
        modules: what a cache may replace within a block, by kind: ``all``, ``attention``, ``mlp``.
    """

    layers: str
    count: str
    form: Form
    run: Callable[[Any, Streams, Conditions], Streams]
    probe: Callable[[Any, Streams, Conditions], Any]
    modules: Mapping[str, ModuleSet] = field(default_factory=dict)


def _no_joint(*_: Any) -> Any:
    raise PluginError("this stack has blocks over a joint sequence but does not say how the streams are merged")


@dataclass(frozen=True)
class BlockStack:
    """All blocks of a transformer, in order.

    Attributes:
        groups: the lists of blocks; those of form APART come first.
        loop: ``"module:Class"`` of the plain loop in ``transformer.block_loop``, which calls one block after another.
        merge: ``merge(image, text) -> joint``; needed only where there are joint blocks, as is
        image_of: ``image_of(joint, text tokens) -> image``.
    """

    groups: tuple[BlockGroup, ...]
    loop: str
    merge: Callable[[Any, Any], Any] = _no_joint
    image_of: Callable[[Any, int], Any] = _no_joint

    def blocks(self, model: Any) -> list[tuple[BlockGroup, Any]]:
        """Every block of ``model`` with its group; a model may lack a list altogether."""
        return [(group, block) for group in self.groups for block in getattr(model, group.layers, ())]

    def forms(self, config: Mapping[str, Any]) -> list[Form]:
        """The form of each block, from the model's configuration alone."""
        return [group.form for group in self.groups for _ in range(int(config.get(group.count) or 0))]

    def check_plain(self, loop: Any, who: str) -> None:
        """`PluginError` unless ``loop`` calls the blocks one by one: one that does not would be bypassed in silence."""
        if not isinstance(loop, load_target(self.loop, object, "the plain block loop")):
            raise PluginError(
                f"{who} runs the blocks one by one, but {type(loop).__name__} has replaced the loop over them and "
                "would never be reached; use a cache of whole steps, such as teacache"
            )

    def convert(self, streams: Streams, old: Form, new: Form, text_tokens: int) -> Streams:
        """The same tokens in a later form (APART, JOINT, IMAGE)."""
        if old is new:
            return streams
        if new is Form.JOINT:
            return (self.merge(*streams),)
        return (streams[0],) if old is Form.APART else (self.image_of(streams[0], text_tokens),)


class SpanLoop(ABC):
    """A block loop that can also run a stretch of the blocks, so that caches decide between stretches.

    What compiles the blocks and wants caches to reach it puts one of these in place of the plain loop.
    """

    @abstractmethod
    def __call__(self, model: Any, image: Any, text: Any, *conditions: Any) -> Any:
        """All blocks, as the plain loop."""

    @abstractmethod
    def span(self, walk: Walk, stop: int) -> Streams:
        """The tokens of ``walk`` after the blocks from ``walk.at`` to before ``stop``, as ``walk.form_at(stop)``."""


def runner_of(loop: Any) -> SpanLoop | None:
    """What runs stretches of blocks within ``loop``, if anything does: itself, or what a cache lies around."""
    return loop if isinstance(loop, SpanLoop) else getattr(loop, "runner", None)


class Walk:
    """Tokens on their way through the blocks of one evaluation.

    ``runner`` runs the stretches; without one, block after block is called.

    Attributes:
        at: index of the block that comes next.
        form, streams: where the tokens are.
        entry: the image tokens before the first block.
        text: the text tokens before the first block.
        ran: number of blocks that were run.
    """

    def __init__(
        self,
        stack: BlockStack,
        model: Any,
        image: Any,
        text: Any,
        conditions: Conditions,
        runner: SpanLoop | None = None,
    ) -> None:
        self.stack = stack
        self.runner = runner
        self.blocks = stack.blocks(model)
        self.entry = image
        self.conditions = conditions
        self.at = self.ran = 0
        self.form = Form.APART
        self.streams: Streams = (image, text)
        self.text = text
        self._probe: tuple[int, Any] | None = None

    def run(self, stop: int) -> None:
        """Run the blocks up to, not including, ``stop``."""
        if self.runner is not None and stop > self.at:
            start, streams = self.at, self.runner.span(self, stop)
            self.ran += stop - start
            self.jump(stop, streams)
            return
        for group, block in self.blocks[self.at : stop]:
            self.streams = group.run(block, self.take(group.form), self.conditions)
            self.ran += 1
        self.at = stop
        self.take(self.form_at(stop))

    def jump(self, stop: int, streams: Streams) -> None:
        """Go on at block ``stop`` with ``streams`` of the form that they have there."""
        self.at, self.form, self.streams = stop, self.form_at(stop), streams

    def form_at(self, index: int) -> Form:
        """The form of the tokens after the block before ``index``; after the last one only the image counts."""
        if index == len(self.blocks):
            return Form.IMAGE
        return self.blocks[index - 1][0].form if index else Form.APART

    def take(self, form: Form) -> Streams:
        """The tokens, brought into ``form``."""
        self.streams, self.form = self.seen_as(self.streams, self.form, form), form
        return self.streams

    def seen_as(self, streams: Streams, old: Form, new: Form) -> Streams:
        """``streams`` in another form."""
        # the number of text tokens matters only where there is a joint sequence
        tokens = self.text.shape[1] if old is Form.JOINT and new is Form.IMAGE else 0
        return self.stack.convert(streams, old, new, tokens)

    def probe(self) -> Any:
        """The modulated input of the block that comes next; a joint sequence's has the text in it."""
        if self._probe is None or self._probe[0] != self.at:
            group, block = self.blocks[self.at]
            self._probe = (self.at, group.probe(block, self.take(group.form), self.conditions))
        return self._probe[1]

    def image_of(self, tokens: Any) -> Any:
        """The image's part of tokens in the present form (of a probe, for instance)."""
        return self.seen_as((tokens,), Form.JOINT, Form.IMAGE)[0] if self.form is Form.JOINT else tokens

    def image(self) -> Any:
        """The image tokens where they are."""
        return self.image_of(self.streams[0])


def stack_of(family: str) -> BlockStack:
    """The stack of a registered pipeline family; a `PluginError` when it does not describe its blocks."""
    from fastdiffusers.plugins import registry

    known = registry().pipelines.get(family)
    if known is None or known.stack is None:
        raise PluginError(f"the pipeline family {family!r} does not describe its blocks, which a cache has to know")
    return known.stack
