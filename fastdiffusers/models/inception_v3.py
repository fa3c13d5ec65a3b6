"""The Inception-v3 whose pooled features are FID's, in Paddle.

Source: Szegedy et al. 2016, "Rethinking the Inception Architecture for Computer Vision", figures 5 to 7. The
weights of Heusel et al. 2017 (TensorFlow, 2015-12-05) go with three details of their graph: average pooling leaves the
border out of the mean, the last block pools by the maximum, and the classifier has 1008 classes. Parameter names are
those of pytorch-fid and torch-fidelity.
"""

from __future__ import annotations

import paddle
import paddle.nn.functional as F
from paddle import nn

FEATURES = 2048
SIDE = 299
EPSILON = 1e-3

Branches = dict[str, tuple[str, int, tuple[int, int], int]]
"""Convolutions of a block by name: what they read, output channels, kernel, stride."""

X, POOL = "x", "pool"


class FrozenNorm(nn.Layer):
    """Batch normalisation with the statistics of training: one factor and one summand for each channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        one, zero = nn.initializer.Constant(1.0), nn.initializer.Constant(0.0)
        self.weight = self.create_parameter([channels], default_initializer=one)
        self.bias = self.create_parameter([channels], default_initializer=zero)
        self.running_mean = self.create_parameter([channels], default_initializer=zero)
        self.running_var = self.create_parameter([channels], default_initializer=one)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        factor = self.weight * paddle.rsqrt(self.running_var + EPSILON)
        summand = self.bias - self.running_mean * factor
        return x * factor.reshape([1, -1, 1, 1]) + summand.reshape([1, -1, 1, 1])


class ConvNorm(nn.Layer):
    """Convolution without bias, norm, ReLU."""

    def __init__(self, inner: int, outer: int, kernel: tuple[int, int], stride: int, padding: tuple[int, int]) -> None:
        super().__init__()
        self.conv = nn.Conv2D(inner, outer, kernel, stride=stride, padding=padding, bias_attr=False)
        self.bn = FrozenNorm(outer)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return F.relu(self.bn(self.conv(x)))


class Mixed(nn.Layer):
    """Branches side by side; those that no other reads are the output, in their order, then the pool if none reads it.

    ``pool``: ``avg`` or ``max`` of 3 x 3 in place, or ``half``: the maximum with stride 2. Convolutions of stride 1
    keep the size, others take whole windows only.
    """

    def __init__(self, inner: int, branches: Branches, pool: str) -> None:
        super().__init__()
        widths = {X: inner, POOL: inner}
        self.sources = {name: source for name, (source, *_) in branches.items()}
        self.pool = pool
        for name, (source, outer, kernel, stride) in branches.items():
            padding = (kernel[0] // 2, kernel[1] // 2) if stride == 1 else (0, 0)
            self.add_sublayer(name, ConvNorm(widths[source], outer, kernel, stride, padding))
            widths[name] = outer
        read = set(self.sources.values())
        self.outputs = [name for name in (*branches, POOL) if name not in read]
        self.width = sum(widths[name] for name in self.outputs)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        known = {X: x, POOL: self._pooled(x)}
        for name, source in self.sources.items():
            known[name] = getattr(self, name)(known[source])
        return paddle.concat([known[name] for name in self.outputs], axis=1)

    def _pooled(self, x: paddle.Tensor) -> paddle.Tensor:
        if self.pool == "avg":
            return F.avg_pool2d(x, 3, stride=1, padding=1, exclusive=True)
        return F.max_pool2d(x, 3, stride=2) if self.pool == "half" else F.max_pool2d(x, 3, stride=1, padding=1)


ONE, THREE, FIVE, WIDE, TALL = (1, 1), (3, 3), (5, 5), (1, 7), (7, 1)


def block_a(pool_width: int) -> Branches:
    """Figure 5."""
    return {
        "branch1x1": (X, 64, ONE, 1),
        "branch5x5_1": (X, 48, ONE, 1),
        "branch5x5_2": ("branch5x5_1", 64, FIVE, 1),
        "branch3x3dbl_1": (X, 64, ONE, 1),
        "branch3x3dbl_2": ("branch3x3dbl_1", 96, THREE, 1),
        "branch3x3dbl_3": ("branch3x3dbl_2", 96, THREE, 1),
        "branch_pool": (POOL, pool_width, ONE, 1),
    }


def block_b() -> Branches:
    """Figure 10: to half the size."""
    return {
        "branch3x3": (X, 384, THREE, 2),
        "branch3x3dbl_1": (X, 64, ONE, 1),
        "branch3x3dbl_2": ("branch3x3dbl_1", 96, THREE, 1),
        "branch3x3dbl_3": ("branch3x3dbl_2", 96, THREE, 2),
    }


def block_c(width: int) -> Branches:
    """Figure 6 with n = 7."""
    return {
        "branch1x1": (X, 192, ONE, 1),
        "branch7x7_1": (X, width, ONE, 1),
        "branch7x7_2": ("branch7x7_1", width, WIDE, 1),
        "branch7x7_3": ("branch7x7_2", 192, TALL, 1),
        "branch7x7dbl_1": (X, width, ONE, 1),
        "branch7x7dbl_2": ("branch7x7dbl_1", width, TALL, 1),
        "branch7x7dbl_3": ("branch7x7dbl_2", width, WIDE, 1),
        "branch7x7dbl_4": ("branch7x7dbl_3", width, TALL, 1),
        "branch7x7dbl_5": ("branch7x7dbl_4", 192, WIDE, 1),
        "branch_pool": (POOL, 192, ONE, 1),
    }


def block_d() -> Branches:
    """To half the size again."""
    return {
        "branch3x3_1": (X, 192, ONE, 1),
        "branch3x3_2": ("branch3x3_1", 320, THREE, 2),
        "branch7x7x3_1": (X, 192, ONE, 1),
        "branch7x7x3_2": ("branch7x7x3_1", 192, WIDE, 1),
        "branch7x7x3_3": ("branch7x7x3_2", 192, TALL, 1),
        "branch7x7x3_4": ("branch7x7x3_3", 192, THREE, 2),
    }


def block_e() -> Branches:
    """Figure 7."""
    return {
        "branch1x1": (X, 320, ONE, 1),
        "branch3x3_1": (X, 384, ONE, 1),
        "branch3x3_2a": ("branch3x3_1", 384, (1, 3), 1),
        "branch3x3_2b": ("branch3x3_1", 384, (3, 1), 1),
        "branch3x3dbl_1": (X, 448, ONE, 1),
        "branch3x3dbl_2": ("branch3x3dbl_1", 384, THREE, 1),
        "branch3x3dbl_3a": ("branch3x3dbl_2", 384, (1, 3), 1),
        "branch3x3dbl_3b": ("branch3x3dbl_2", 384, (3, 1), 1),
        "branch_pool": (POOL, 192, ONE, 1),
    }


MIXED = {
    "Mixed_5b": (block_a(32), "avg"),
    "Mixed_5c": (block_a(64), "avg"),
    "Mixed_5d": (block_a(64), "avg"),
    "Mixed_6a": (block_b(), "half"),
    "Mixed_6b": (block_c(128), "avg"),
    "Mixed_6c": (block_c(160), "avg"),
    "Mixed_6d": (block_c(160), "avg"),
    "Mixed_6e": (block_c(192), "avg"),
    "Mixed_7a": (block_d(), "half"),
    "Mixed_7b": (block_e(), "avg"),
    "Mixed_7c": (block_e(), "max"),
}


class InceptionV3(nn.Layer):
    """Pictures ``[B, 3, 299, 299]``, (x - 128) / 128 of 8-bit values, to the pooled features ``[B, 2048]``."""

    def __init__(self) -> None:
        super().__init__()
        none, same = (0, 0), (1, 1)
        self.Conv2d_1a_3x3 = ConvNorm(3, 32, THREE, 2, none)
        self.Conv2d_2a_3x3 = ConvNorm(32, 32, THREE, 1, none)
        self.Conv2d_2b_3x3 = ConvNorm(32, 64, THREE, 1, same)
        self.Conv2d_3b_1x1 = ConvNorm(64, 80, ONE, 1, none)
        self.Conv2d_4a_3x3 = ConvNorm(80, 192, THREE, 1, none)
        width = 192
        for name, (branches, pool) in MIXED.items():
            block = Mixed(width, branches, pool)
            self.add_sublayer(name, block)
            width = block.width

    @staticmethod
    def rename(key: str) -> str | None:
        """Name in a file → ours; ``None`` for what features do not need: classifiers and counts of batches."""
        unused = key.startswith(("fc.", "AuxLogits.")) or key.endswith(".num_batches_tracked")
        return None if unused else key

    def forward(self, pictures: paddle.Tensor) -> paddle.Tensor:
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(pictures)))
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(F.max_pool2d(x, 3, stride=2)))
        x = F.max_pool2d(x, 3, stride=2)
        for name in MIXED:
            x = getattr(self, name)(x)
        return x.mean(axis=[2, 3])
