"""Low-rank adapters (Hu et al. 2021, "LoRA", section 4.1): y = x·W + (α/r)·x·A·B on the linear layers of one network.

Several adapters share one frozen network, each under a name; at most one is active, and with none the network is what
it was. So a teacher, its student and a critic need the memory of one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import paddle
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

    def __init__(self, base: nn.Linear, bank: LoraBank) -> None:
        super().__init__()
        self.base = base
        self.bank = bank
        self.scales: dict[str, float] = {}

    def add(self, name: str, rank: int, alpha: float, rng: np.random.Generator) -> None:
        """A new adapter that changes nothing yet: A is uniform in ±1/√in, B is zero."""
        inner, outer = self.base.weight.shape
        bound = 1 / math.sqrt(inner)
        first = paddle.to_tensor(rng.uniform(-bound, bound, (inner, rank)).astype(np.float32))
        for key, value in (("A", first), ("B", paddle.zeros([rank, outer], dtype="float32"))):
            parameter = self.create_parameter(value.shape, default_initializer=nn.initializer.Assign(value))
            self.add_parameter(f"{name}_{key}", parameter)
        self.scales[name] = alpha / rank

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        out = self.base(x)
        name = self.bank.active
        if name is None or name not in self.scales:
            return out
        first, second = self._parameters[f"{name}_A"], self._parameters[f"{name}_B"]
        return out + paddle.matmul(paddle.matmul(x, first), second) * self.scales[name]


class LoraBank:
    """The adapters of one network. Making one freezes the network and puts a `LoraLinear` around each target layer.

    Args:
        network: changed in place; `remove` undoes that.
        targets: words of `GROUPS`; ``("all",)`` takes every linear layer of the blocks.
        within: prefixes of the names to look at.
    """

    def __init__(
        self,
        network: nn.Layer,
        targets: Sequence[str] = ("all",),
        within: Sequence[str] = ("transformer_blocks.", "single_transformer_blocks.", "norm_out."),
    ) -> None:
        for word in targets:
            if word != "all" and word not in GROUPS:
                raise InputError(one_of("target", word, ["all", *GROUPS]))
        self.network = network
        self.active: str | None = None
        for parameter in network.parameters():
            parameter.stop_gradient = True
        self.layers: dict[str, LoraLinear] = {}
        for path, layer in list(network.named_sublayers()):
            if isinstance(layer, nn.Linear) and path.startswith(tuple(within)) and _wanted(path, targets):
                owner, name = _owner(network, path)
                self.layers[path] = LoraLinear(layer, self)
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
        """(α/r)·A·B of one layer, what merging adds to its weight: float32 ``[in, out]`` (Paddle's orientation)."""
        layer = self.layers[path]
        first, second = (layer._parameters[f"{name}_{key}"].numpy() for key in "AB")
        return np.asarray(first.astype(np.float64) @ second * layer.scales[name], dtype=np.float32)

    def deltas(self, name: str) -> dict[str, np.ndarray]:
        """`delta` of every layer: together as large as the network."""
        return {path: self.delta(name, path) for path in self.layers}

    def remove(self) -> None:
        """Put the linear layers back as they were."""
        for path, layer in self.layers.items():
            owner, name = _owner(self.network, path)
            owner._sub_layers[name] = layer.base


def _wanted(path: str, targets: Sequence[str]) -> bool:
    if "all" in targets:
        return True
    return any(part in f".{path}." for word in targets for part in GROUPS[word])


def _owner(network: nn.Layer, path: str) -> tuple[nn.Layer, str]:
    """The layer that holds the sub-layer at ``path``, and the name it has there."""
    *way, name = path.split(".")
    owner = network
    for part in way:
        owner = owner._sub_layers[part]
    return owner, name
