"""Teacher, student and their opponents, as UNets of ppdiffusers: `fastdiffusers.distillation.networks` for them.

A student that is trained in full is told the guidance by an embedding that the teacher does not have (Meng et al. 2023,
"On Distillation of Guided Diffusion Models", section 3); one that is an adapter is not told it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import nn

from fastdiffusers.distillation.lora import LoraBank
from fastdiffusers.distillation.networks import STUDENT, TARGET, Networks

WIDTH = 256
"""Of the embedding of the guidance (``unet_time_cond_proj_dim``)."""
EMBEDDING = "time_embedding.cond_proj.weight"
WITHIN = ("down_blocks.", "mid_block.", "up_blocks.")
GROUPS = {
    "attention": (".attn1.", ".attn2."),
    "mlp": (".ff.",),
    "projection": (".proj_in.", ".proj_out."),
    "convolution": (".conv1.", ".conv2.", ".conv_shortcut.", ".downsamplers.", ".upsamplers."),
    "modulation": (".time_emb_proj.",),
}
"""Which layers a word of ``targets`` means; together those that the published LCM-LoRA files change."""
RECOMPUTED = ("ResnetBlock2D", "Transformer2DModel")


@dataclass(frozen=True)
class UNetConditions:
    """What a UNet is told beside latents and timestep.

    Attributes:
        text: ``[B, T, J]``.
        guidance: the common scale g of ε(∅) + g·(ε(c) − ε(∅)), ``[B]``; None for a student that is not told.
        pooled, time_ids: SDXL's ``text_embeds`` ``[B, P]`` and ``time_ids`` ``[B, 6]``; None for SD1.5.
    """

    text: paddle.Tensor
    guidance: paddle.Tensor | None = None
    pooled: paddle.Tensor | None = None
    time_ids: paddle.Tensor | None = None

    def told(self, guidance: paddle.Tensor | float) -> UNetConditions:
        """The same with another guidance; unchanged for a network without that input."""
        if self.guidance is None:
            return self
        if isinstance(guidance, int | float):
            guidance = paddle.full_like(self.guidance, float(guidance))
        return replace(self, guidance=guidance)

    def untexted(self, text: paddle.Tensor, pooled: paddle.Tensor | None = None) -> UNetConditions:
        """The same with the empty caption's embeddings, ``[1, …]``, for all."""
        count = self.text.shape[0]
        empty = None if self.pooled is None or pooled is None else pooled.expand([count, -1])
        return replace(self, text=text.expand([count, -1, -1]), pooled=empty)

    def tensors(self) -> tuple[Any, ...]:
        """What `NoisePrediction` is run with."""
        return (self.text, self.guidance, self.pooled, self.time_ids)


class UNetNetworks(Networks):
    """The roles; see `Networks`. ``width`` is that of the embedding of the guidance."""

    def __init__(
        self,
        unet: Any,
        student_lora: tuple[int, float | None, Sequence[str]] | None,
        seed: int = 0,
        compile: bool = False,
        amp: tuple[str, str] | None = None,
        recompute: bool = False,
        width: int = WIDTH,
    ) -> None:
        self.width = width
        super().__init__(unet, None, student_lora, seed, compile, amp, recompute)

    @property
    def has_guidance(self) -> bool:
        """Whether the student is told the guidance; the teacher never is."""
        return self.bank is None

    def make_bank(self, targets: Sequence[str]) -> LoraBank:
        for layer in self.teacher.sublayers():
            if isinstance(layer, nn.LayerNorm) and layer.weight is not None:
                vars(layer)["forward"] = frozen_norm(layer)
        return LoraBank(self.teacher, targets, WITHIN, GROUPS)

    def duplicate(self, network: Any, role: str) -> Any:
        """Built anew: a layer that stands in a pipeline has functions of that pipeline among its attributes.

        The student's, told the guidance, has an embedding of it that is drawn from the seed.
        """
        config = dict(network.config)
        if role == STUDENT:
            config["time_cond_proj_dim"] = self.width
        filled = all(value._is_initialized() for value in network.parameters())
        with paddle.LazyGuard() if not filled else paddle.no_grad():
            made = type(network).from_config(config)
        made.eval()  # no dropout: teacher and student see the same
        if filled:
            own = made.state_dict()
            for name, value in network.state_dict().items():
                own[name].set_value(value)
            if role == STUDENT:
                weight = made.time_embedding.cond_proj.weight
                rng = np.random.default_rng([self._seed, self.width])
                start = rng.standard_normal(weight.shape) / math.sqrt(self.width)
                weight.set_value(start.astype(np.float32))
        return made

    def recompute(self) -> None:
        """Residual and attention blocks keep no activations for the backward pass; it runs them again."""
        for network in {id(network): network for network in (self.teacher, self.student)}.values():
            for layer in network.sublayers():
                if type(layer).__name__ in RECOMPUTED:
                    layer.forward = self._recomputing(layer.forward)

    def _recomputing(self, inner: Callable[..., Any]) -> Callable[..., Any]:
        from paddle.distributed.fleet.utils import recompute

        def forward(x: Any, *more: Any, **named: Any) -> Any:
            if not paddle.is_grad_enabled() or x.stop_gradient:
                return inner(x, *more, **named)
            role = self.bank.active if self.bank is not None else None
            # what gradients flow through has to be an argument of its own, for Paddle cuts the graph there
            places = [name for name, value in named.items() if isinstance(value, paddle.Tensor)]

            def again(x: Any, *given: Any) -> Any:
                loose = dict(zip(places, given[len(more) :], strict=True))
                with self.acting(role or ""):
                    return inner(x, *given[: len(more)], **{**named, **loose})

            return recompute(again, x, *more, *(named[name] for name in places))

        return forward

    def predictor(self, network: Any, role: str) -> nn.Layer:
        return NoisePrediction(network, self.width if role in (STUDENT, TARGET) and self.has_guidance else 0)

    @property
    def depth(self) -> int:
        return len(parts(self.teacher))

    def places(self, shares: Sequence[float]) -> tuple[int, ...]:
        """As for a stack, of the UNet's blocks on the way down, in the middle, and up: a half is the middle one."""
        depth = self.depth
        return tuple(sorted({min(depth, max(1, math.floor(share * depth + 0.5))) for share in shares}))

    def widths(self, blocks: tuple[int, ...]) -> list[int]:
        down = list(self.teacher.config["block_out_channels"])
        middle = down[-1:] if self.teacher.mid_block is not None else []
        after = [*down, *middle, *reversed(down)]
        return [int(after[place - 1]) for place in blocks]

    def looker(self, network: Any, blocks: tuple[int, ...]) -> nn.Layer:
        return InnerFeatures(NoisePrediction(network, 0), blocks, early=not self.compile)


class NoisePrediction(nn.Layer):
    """A UNet with only tensors as arguments; ``width``: of the guidance's embedding, 0 for one that is told none."""

    def __init__(self, network: Any, width: int) -> None:
        super().__init__()
        self.network, self.width = network, width

    def forward(self, x, level, text, guidance, pooled, time_ids):
        told = guidance_embedding(guidance, self.width) if self.width and guidance is not None else None
        added = None if pooled is None else {"text_embeds": pooled, "time_ids": time_ids}
        return self.network(
            x,
            level,
            encoder_hidden_states=text,
            timestep_cond=told,
            added_cond_kwargs=added,
            return_dict=False,
        )[0]


def parts(unet: Any) -> list[Any]:
    """The blocks of a UNet in the order of running."""
    middle = [unet.mid_block] if unet.mid_block is not None else []
    return [*unet.down_blocks, *middle, *unet.up_blocks]


class Seen(Exception):
    """All that was to be seen of a UNet has been."""


class InnerFeatures(nn.Layer):
    """What comes out of some blocks of a UNet, as tokens: a list of ``[B, H·W, C]``, one of each of ``blocks``.

    ``early``: nothing runs after the last of them. A graph cannot be recorded so; there the rest goes unused.
    """

    def __init__(self, whole: NoisePrediction, blocks: tuple[int, ...], early: bool) -> None:
        super().__init__()
        self.whole, self.blocks, self.early = whole, blocks, early

    def forward(self, x, level, text, guidance, pooled, time_ids):
        found = []

        def look(layer, given, output):
            maps = output[0] if isinstance(output, tuple) else output
            found.append(maps.flatten(2).transpose([0, 2, 1]))
            if self.early and len(found) == len(self.blocks):
                raise Seen

        every = parts(self.whole.network)
        hooks = [every[place - 1].register_forward_post_hook(look) for place in self.blocks]
        try:
            self.whole(x, level, text, guidance, pooled, time_ids)
        except Seen:
            pass
        finally:
            for hook in hooks:
                hook.remove()
        return found


def frozen_norm(layer: Any) -> Callable[[Any], Any]:
    """A layer norm whose weights are not trained.

    On a CPU Paddle's own (3.3) leaves the weight out of the gradient of its input when the weight is frozen.
    """

    def forward(x: Any) -> Any:
        plain = F.layer_norm(x, layer._normalized_shape, None, None, layer._epsilon)
        return plain * layer.weight + layer.bias if layer.bias is not None else plain * layer.weight

    return forward


def guidance_embedding(guidance: paddle.Tensor, width: int) -> paddle.Tensor:
    """Sines, then cosines, of 1000·w at ``width``/2 frequencies from 1 down to 1/10000: ``[B, width]``.

    w is one less than the common scale ``guidance``: what pipelines of Stable Diffusion tell such a UNet.
    """
    half = width // 2
    frequencies = paddle.exp(-math.log(10000.0) * paddle.arange(half, dtype="float32") / (half - 1))
    angles = (1000.0 * (guidance - 1.0)).unsqueeze(1) * frequencies.unsqueeze(0)
    return paddle.concat([paddle.sin(angles), paddle.cos(angles)], axis=1)
