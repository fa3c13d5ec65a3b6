"""Teacher, student and their opponents, on one frozen network.

The teacher is the network with no adapter, the student one with the adapter ``student``, a critic one with ``critic``.
Where a student is trained in full, it is a second network. These are FLUX's; other families derive theirs.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import paddle
from paddle import nn

from fastdiffusers.caching.stack import BlockStack, Walk
from fastdiffusers.distillation.lora import LoraBank
from fastdiffusers.errors import InputError

TEACHER, STUDENT, CRITIC, TARGET = "teacher", "student", "critic", "target"


@dataclass(frozen=True)
class Conditions:
    """What a network is told beside latents and level.

    Attributes:
        text: ``[B, T, J]``; pooled: ``[B, P]``; guidance: ``[B]``, or None for a network without a guidance input.
        rope: the rotary table for the pictures' size.
    """

    text: paddle.Tensor
    pooled: paddle.Tensor
    guidance: paddle.Tensor | None
    rope: tuple[paddle.Tensor, ...]

    def told(self, guidance: paddle.Tensor | float) -> Conditions:
        """The same with another guidance; unchanged for a network without that input."""
        if self.guidance is None:
            return self
        if isinstance(guidance, int | float):
            guidance = paddle.full_like(self.guidance, float(guidance))
        return replace(self, guidance=guidance)

    def untexted(self, text: paddle.Tensor, pooled: paddle.Tensor) -> Conditions:
        """The same with the empty caption's embeddings, ``[1, …]``, for all."""
        count = self.text.shape[0]
        return replace(self, text=text.expand([count, -1, -1]), pooled=pooled.expand([count, -1]))

    def tensors(self) -> tuple[Any, ...]:
        """What the network is run with, in the order of `Networks.predictor`'s arguments."""
        return (self.text, self.pooled, self.guidance, *self.rope)


class Networks:
    """The roles of one distillation.

    Args:
        transformer: the teacher; frozen, and changed in place by adapters.
        stack: its blocks as data; None where a family has none.
        student_lora: rank, alpha and targets of the student's adapter; None trains a full copy.
        seed: of the adapters' start.
        compile: run on static graphs, about a third faster on a CPU.
        amp: level and dtype of automatic mixed precision (``("O1", "bfloat16")``), or None.
        recompute: keep no activations of blocks for the backward pass, compute them again.
    """

    def __init__(
        self,
        transformer: Any,
        stack: BlockStack | None,
        student_lora: tuple[int, float | None, Sequence[str]] | None,
        seed: int = 0,
        compile: bool = False,
        amp: tuple[str, str] | None = None,
        recompute: bool = False,
    ) -> None:
        self.stack, self.compile, self.amp = stack, compile, amp
        self.teacher = transformer
        self.teacher.eval()
        self.bank: LoraBank | None = None
        self._graphs: dict[Any, Callable[..., Any]] = {}
        self._layers: list[nn.Layer] = []  # a graph refers to its layer weakly
        self.parameters: dict[str, dict[str, paddle.Tensor]] = {}
        self._copies: dict[str, Any] = {}  # networks of their own, by role
        self._ropes: dict[tuple[int, int, int, int], tuple[paddle.Tensor, ...]] = {}
        self._seed = seed
        if student_lora is None:
            self.student = self._copies[STUDENT] = self.duplicate(transformer, STUDENT)
            self.parameters[STUDENT] = {f"{STUDENT}.{name}": p for name, p in self.student.named_parameters()}
            for parameter in transformer.parameters():
                parameter.stop_gradient = True
        else:
            rank, alpha, targets = student_lora
            self.bank = self.make_bank(targets)
            self.student = transformer
            self.add_adapter(STUDENT, rank, alpha, seed)
        self._blocks: Recomputing | None = None
        if recompute:
            self.recompute()
        # said by Paddle itself whenever a constant is made while a graph is recorded
        warnings.filterwarnings("ignore", message="Tensor do not have 'place' interface", category=UserWarning)

    def make_bank(self, targets: Sequence[str]) -> LoraBank:
        """The adapters of the frozen network."""
        return LoraBank(self.teacher, targets)

    def recompute(self) -> None:
        """Have the networks so far run their blocks without keeping activations."""
        if self.stack is None:
            raise InputError(f"{type(self.teacher).__name__} has no blocks that recompute=true could run again")
        self._blocks = Recomputing(self)
        self.student.block_loop = self.teacher.block_loop = RecomputingLoop(self.stack, self._blocks)

    def duplicate(self, network: Any, role: str) -> Any:
        """A network of its own for ``role``, of the same weights."""
        loop = network.block_loop
        network.block_loop = None  # one that recomputes holds all networks
        made = copy.deepcopy(network)
        network.block_loop = made.block_loop = loop
        return made

    def add_adapter(self, role: str, rank: int, alpha: float | None = None, seed: int = 0) -> dict[str, paddle.Tensor]:
        """Another adapter on the frozen network, and its parameters."""
        if self.bank is None:
            self.bank = self.make_bank(("all",))
        self.parameters[role] = self.bank.add(role, rank, alpha, seed)
        return self.parameters[role]

    def copy_teacher(self, role: str) -> dict[str, paddle.Tensor]:
        """A network like the teacher that is trained in full, and its parameters; before there is any adapter."""
        if self.bank is not None:
            raise InputError(f"the {role} can be a network of its own only where no adapters are trained: train=full")
        made = self._copies[role] = self.duplicate(self.teacher, role)
        for parameter in made.parameters():
            parameter.stop_gradient = False
        self.parameters[role] = {f"{role}.{name}": p for name, p in made.named_parameters()}
        return self.parameters[role]

    def copy_student(self, role: str) -> dict[str, paddle.Tensor]:
        """A frozen network like a student that is trained in full, and its parameters."""
        made = self._copies[role] = self.duplicate(self.student, role)
        for parameter in made.parameters():
            parameter.stop_gradient = True
        self.parameters[role] = {f"{role}.{name}": p for name, p in made.named_parameters()}
        return self.parameters[role]

    @property
    def has_guidance(self) -> bool:
        return bool(self.teacher.config.guidance_embeds)

    def rope(self, height: int, width: int, tokens: int, count: int) -> tuple[paddle.Tensor, ...]:
        """The rotary table of ``count`` pictures of latents ``height`` × ``width``, for ``tokens`` text tokens; made
        once for each."""
        key = (height, width, tokens, count)
        if key not in self._ropes:
            self._ropes[key] = self._rope(*key)
        return self._ropes[key]

    def _rope(self, height: int, width: int, tokens: int, count: int) -> tuple[paddle.Tensor, ...]:
        from fastdiffusers.pipelines.pixels import position_ids

        table = self.teacher.rope(np.zeros((tokens, 3), np.float32), position_ids(height, width))
        if paddle.get_device().startswith("cpu"):  # a product of equal shapes is many times faster there
            heads = self.teacher.config.num_attention_heads
            table = tuple(part.expand([count, -1, heads, -1]).contiguous() for part in table)
        return tuple(table)

    def predict(self, role: str, x: paddle.Tensor, level: paddle.Tensor, conditions: Conditions) -> paddle.Tensor:
        """What the network of ``role`` predicts of ``x`` at ``level``. Gradients flow unless `paddle.no_grad`."""
        make = lambda network: self.predictor(network, role)  # noqa: E731
        return self._run((role, "predict"), make, role, (x, level, *conditions.tensors()))

    def features(
        self,
        x: paddle.Tensor,
        level: paddle.Tensor,
        conditions: Conditions,
        blocks: tuple[int, ...],
        role: str = TEACHER,
    ) -> list[paddle.Tensor]:
        """Image tokens ``[B, S, C]`` in the network of ``role`` after each of ``blocks`` (of `places`)."""
        make = lambda network: self.looker(network, blocks)  # noqa: E731
        return self._run((role, blocks), make, role, (x, level, *conditions.tensors()))

    def places(self, shares: Sequence[float]) -> tuple[int, ...]:
        """How many blocks have run at each of ``shares`` of the depth: at least one, rising, without repeats."""
        depth = self.depth
        return tuple(sorted({max(1, round(share * depth)) for share in shares}))

    def widths(self, blocks: tuple[int, ...]) -> list[int]:
        """C of what `features` finds after each of ``blocks``."""
        return [int(self.teacher.proj_out.weight.shape[0])] * len(blocks)

    @property
    def depth(self) -> int:
        """Number of blocks; `InputError` where a family has none that losses could look into."""
        if self.stack is None:
            raise InputError(
                f"{type(self.teacher).__name__} is no stack of blocks whose features a discriminator could look at; "
                "valid for this model: terms without one"
            )
        return len(self.stack.blocks(self.teacher))

    def predictor(self, network: Any, role: str) -> nn.Layer:
        """A layer that runs ``network`` on x, level and the conditions' tensors."""
        return _Velocity(network)

    def looker(self, network: Any, blocks: tuple[int, ...]) -> nn.Layer:
        """A layer that runs ``network`` on the same as far as the last of ``blocks`` and returns `features`."""
        assert self.stack is not None  # `places` are asked for first
        return _Features(network, self.stack, blocks, self._blocks)

    def _run(self, key: Any, make: Callable[[Any], nn.Layer], role: str, inputs: tuple[Any, ...]) -> Any:
        key = (key, paddle.is_grad_enabled())  # a graph that was recorded without gradients never has any
        if key not in self._graphs:
            layer = make(self._copies.get(role, self.teacher))
            self._layers.append(layer)  # in training mode: a graph of a layer in eval mode has no backward part
            forward = layer.forward
            self._graphs[key] = paddle.jit.to_static(forward, full_graph=True) if self.compile else forward
        with self.acting(role), self._mixed():  # also while the graph is recorded, which is at the first call
            return _wide(self._graphs[key](*inputs))

    def acting(self, role: str) -> AbstractContextManager[None]:
        """Within this, the frozen network is the one of ``role``."""
        if self.bank is None:
            return nullcontext()
        return self.bank.using(role if role in self.bank_roles else None)

    def _mixed(self) -> Any:
        if self.amp is None:
            return nullcontext()
        level: Any
        dtype: Any
        level, dtype = self.amp
        return paddle.amp.auto_cast(level=level, dtype=dtype)

    @property
    def bank_roles(self) -> frozenset[str]:
        """Roles that are adapters."""
        return frozenset(self.parameters) - self._copies.keys()


class Recomputing:
    """Runs blocks and forgets their activations; the backward pass runs them again, in the role of then."""

    def __init__(self, networks: Networks) -> None:
        self.networks = networks

    def run(self, walk: Walk, stop: int) -> None:
        """`Walk.run`; the plain one where no gradient will flow."""
        from paddle.distributed.fleet.utils import recompute

        if not paddle.is_grad_enabled() or walk.streams[0].stop_gradient:
            walk.run(stop)
            return
        role = self.networks.bank.active if self.networks.bank is not None else None
        for index, (group, block) in enumerate(walk.blocks[walk.at : stop], walk.at):
            streams = walk.take(group.form)
            # all that gradients flow through has to be an argument, for Paddle cuts the graph there
            streams = recompute(self._again(group, block, len(streams), role), *streams, *walk.conditions)
            streams = streams if isinstance(streams, tuple) else (streams,)
            walk.jump(index + 1, walk.seen_as(streams, group.form, walk.form_at(index + 1)))

    def _again(self, group: Any, block: Any, count: int, role: str | None) -> Callable[..., Any]:
        """Runs ``block`` on its first ``count`` arguments, the others being its conditions, in the role of now."""

        def run(*arguments: Any) -> Any:
            with self.networks.acting(role or TEACHER):
                return group.run(block, arguments[:count], arguments[count:])

        return run


class RecomputingLoop:
    """A transformer's loop over its blocks, through `Recomputing`."""

    def __init__(self, stack: BlockStack, blocks: Recomputing) -> None:
        self.stack, self.blocks = stack, blocks

    def __call__(self, model: Any, image: Any, text: Any, *conditions: Any) -> Any:
        if paddle.is_grad_enabled() and image.stop_gradient:
            image = image.detach()
            image.stop_gradient = False  # else Paddle takes the first blocks for constants, adapters and all
        walk = Walk(self.stack, model, image, text, conditions)
        self.blocks.run(walk, len(walk.blocks))
        return walk.image()


def _wide(found: Any) -> Any:
    """Outputs in float32, in which losses are computed."""
    if isinstance(found, list | tuple):
        return [_wide(item) for item in found]
    return found if found.dtype == paddle.float32 else found.astype("float32")


class _Velocity(nn.Layer):
    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, x, level, text, pooled, guidance, cos, sin):
        return self.network(x, text, pooled, level, (cos, sin), guidance)


class _Features(nn.Layer):
    def __init__(
        self, network: Any, stack: BlockStack, blocks: tuple[int, ...], recomputing: Recomputing | None
    ) -> None:
        super().__init__()
        self.network = network
        self.stack, self.blocks, self.recomputing = stack, blocks, recomputing

    def forward(self, x, level, text, pooled, guidance, cos, sin):
        network = self.network
        image = network.x_embedder(x)
        told = None if guidance is None else guidance * 1000
        temb = network.time_text_embed(level * 1000, told, pooled)
        walk = Walk(self.stack, network, image, network.context_embedder(text), (temb, (cos, sin)))
        found = []
        for stop in self.blocks:
            if self.recomputing is None:
                walk.run(stop)
            else:
                self.recomputing.run(walk, stop)
            found.append(walk.image())
        return found
