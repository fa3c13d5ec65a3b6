"""Low-rank adapters (Hu et al. 2021, "LoRA", section 4.1): y = x·W + (α/r)·x·A·B on the linear layers of one network.

Of a convolution A is one to r channels with the same window, B a 1 × 1 one from there.

Several adapters share one frozen network, each under a name; at most one is active, and with none the network is what
it was. So a teacher, its student and a critic need the memory of one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import nn

from fastdiffusers.errors import InputError, one_of

GROUPS = {
    "attention": (".attn.",),
    "mlp": (".ff.", ".ff_context.", ".proj_mlp"),
    "modulation": (".norm", "norm_out."),
    "projection": (".proj_out",),
}
"""Which layers a word of ``targets`` means, by parts of their names. `projection`: the shared output of single blocks,
in which attention and MLP are mixed."""


class LoraLinear(nn.Layer):
    """A frozen linear layer with the adapters that were added to it."""

    def __init__(self, base: nn.Layer, bank: LoraBank) -> None:
        super().__init__()
        self.base = base
        self.bank = bank
        self.scales: dict[str, float] = {}

    @property
    def weight(self) -> paddle.Tensor:
        """The frozen weight."""
        return self.base.weight

    @property
    def shape(self) -> tuple[int, ...]:
        """That of the weight in torch's orientation: (out, in)."""
        inner, outer = self.base.weight.shape
        return int(outer), int(inner)

    def add(self, name: str, rank: int, alpha: float, rng: np.random.Generator) -> None:
        """A new adapter that changes nothing yet: A is uniform in ±1/√(inputs of an output), B is zero."""
        first, second = self._shapes(rank)
        bound = 1 / math.sqrt(math.prod(self.shape[1:]))
        start = paddle.to_tensor(rng.uniform(-bound, bound, first).astype(np.float32))
        for key, value in (("A", start), ("B", paddle.zeros(second, dtype="float32"))):
            parameter = self.create_parameter(value.shape, default_initializer=nn.initializer.Assign(value))
            self.add_parameter(f"{name}_{key}", parameter)
        self.scales[name] = alpha / rank

    def forward(self, x: paddle.Tensor, *more: object, **named: object) -> paddle.Tensor:
        """What comes after ``x`` is the frozen layer's: ppdiffusers' take the scale of an adapter of their own."""
        out = self.base(x, *more, **named)
        name = self.bank.active
        if name is None or name not in self.scales:
            return out
        first, second = self._parameters[f"{name}_A"], self._parameters[f"{name}_B"]
        return out + self._change(x, first, second) * self.scales[name]

    def factors(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """``down`` [r, in] and ``up`` [out, r] of an adapter as torch has them; of a convolution as matrices too."""
        first, second = (self._parameters[f"{name}_{key}"].numpy() for key in "AB")
        return np.ascontiguousarray(first.T), np.ascontiguousarray(second.T)

    def set_factors(self, name: str, down: np.ndarray, up: np.ndarray) -> None:
        """The inverse of `factors`."""
        with paddle.no_grad():
            self._parameters[f"{name}_A"].set_value(np.ascontiguousarray(down.T))
            self._parameters[f"{name}_B"].set_value(np.ascontiguousarray(up.T))

    def rank(self, name: str) -> int:
        """r of an adapter."""
        return int(self._parameters[f"{name}_A"].shape[1])

    def delta(self, name: str) -> np.ndarray:
        """(α/r)·A·B, what merging adds to the weight: float32, in Paddle's orientation, as the weight is."""
        down, up = self.factors(name)
        product = np.asarray(up.astype(np.float64) @ down * self.scales[name], dtype=np.float32)
        return product.T if len(self.shape) == 2 else product.reshape(self.shape)

    def _shapes(self, rank: int) -> tuple[list[int], list[int]]:
        outer, inner = self.shape
        return [inner, rank], [rank, outer]

    def _change(self, x: paddle.Tensor, first: paddle.Tensor, second: paddle.Tensor) -> paddle.Tensor:
        return paddle.matmul(paddle.matmul(x, first), second)


class LoraConv(LoraLinear):
    """A frozen convolution with the adapters that were added to it."""

    @property
    def shape(self) -> tuple[int, ...]:
        """That of the weight: (out, in, h, w)."""
        return tuple(int(side) for side in self.base.weight.shape)

    def factors(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        first, second = (self._parameters[f"{name}_{key}"].numpy() for key in "AB")
        return first.reshape(len(first), -1), second.reshape(len(second), -1)

    def set_factors(self, name: str, down: np.ndarray, up: np.ndarray) -> None:
        with paddle.no_grad():
            for key, value in (("A", down), ("B", up)):
                parameter = self._parameters[f"{name}_{key}"]
                parameter.set_value(np.ascontiguousarray(value).reshape(parameter.shape))

    def rank(self, name: str) -> int:
        return int(self._parameters[f"{name}_A"].shape[0])

    def _shapes(self, rank: int) -> tuple[list[int], list[int]]:
        outer, *window = self.shape
        return [rank, *window], [outer, rank, 1, 1]

    def _change(self, x: paddle.Tensor, first: paddle.Tensor, second: paddle.Tensor) -> paddle.Tensor:
        base = self.base
        return F.conv2d(F.conv2d(x, first, None, base._stride, base._padding, base._dilation), second)


class LoraBank:
    """The adapters of one network. Making one freezes the network and puts a `LoraLinear` around each target layer.

    Args:
        network: changed in place; `remove` undoes that.
        targets: words of ``groups``; ``("all",)`` takes every linear layer and convolution of the blocks.
        within: prefixes of the names to look at.
        groups: which layers a word means, by parts of their names.
    """

    def __init__(
        self,
        network: nn.Layer,
        targets: Sequence[str] = ("all",),
        within: Sequence[str] = ("transformer_blocks.", "single_transformer_blocks.", "norm_out."),
        groups: Mapping[str, Sequence[str]] = GROUPS,
    ) -> None:
        for word in targets:
            if word != "all" and word not in groups:
                raise InputError(one_of("target", word, ["all", *groups]))
        self.network = network
        self.active: str | None = None
        for parameter in network.parameters():
            parameter.stop_gradient = True
        self.layers: dict[str, LoraLinear] = {}
        for path, layer in list(network.named_sublayers()):
            kind = LoraLinear if isinstance(layer, nn.Linear) else LoraConv if isinstance(layer, nn.Conv2D) else None
            if kind is not None and path.startswith(tuple(within)) and _wanted(path, targets, groups):
                owner, name = _owner(network, path)
                self.layers[path] = kind(layer, self)
                owner._sub_layers[name] = self.layers[path]
        if not self.layers:
            raise InputError(f"targets {', '.join(targets)} match no linear layer of {type(network).__name__}")

    def add(self, name: str, rank: int, alpha: float | None = None, seed: int = 0) -> dict[str, paddle.Tensor]:
        """A new adapter of ``rank``, α = rank by default. Returns its parameters by ``NAME.PATH.lora_A`` and ``_B``."""
        for index, layer in enumerate(self.layers.values()):
            layer.add(name, rank, float(rank if alpha is None else alpha), np.random.default_rng([seed, 7, index]))
        return self.parameters(name)

    def parameters(self, name: str) -> dict[str, paddle.Tensor]:
        """The parameters of one adapter."""
        return {
            f"{name}.{path}.lora_{key}": layer._parameters[f"{name}_{key}"]
            for path, layer in self.layers.items()
            for key in "AB"
        }

    @contextmanager
    def using(self, name: str | None) -> Iterator[None]:
        """Within this, the network is the one of adapter ``name``; None is the frozen one."""
        before, self.active = self.active, name
        try:
            yield
        finally:
            self.active = before

    def delta(self, name: str, path: str) -> np.ndarray:
        """`LoraLinear.delta` of one layer: in Paddle's orientation, [in, out] of a linear one."""
        return self.layers[path].delta(name)

    def deltas(self, name: str) -> dict[str, np.ndarray]:
        """`delta` of every layer: together as large as the network."""
        return {path: self.delta(name, path) for path in self.layers}

    def remove(self) -> None:
        """Put the linear layers back as they were."""
        for path, layer in self.layers.items():
            owner, name = _owner(self.network, path)
            owner._sub_layers[name] = layer.base


def _wanted(path: str, targets: Sequence[str], groups: Mapping[str, Sequence[str]]) -> bool:
    if "all" in targets:
        return True
    return any(part in f".{path}." for word in targets for part in groups[word])


def _owner(network: nn.Layer, path: str) -> tuple[nn.Layer, str]:
    """The layer that holds the sub-layer at ``path``, and the name it has there."""
    *way, name = path.split(".")
    owner = network
    for part in way:
        owner = owner._sub_layers[part]
    return owner, name
