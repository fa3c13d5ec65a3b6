"""The convolutional blocks of the KL autoencoder, named as in diffusers so that parameter names agree.

Every tensor is ``[batch, channels, height, width]``, float32 on CPU. The architecture is the one of Rombach et al.,
"High-Resolution Image Synthesis with Latent Diffusion Models" (2022), appendix E.
"""

from __future__ import annotations

import math

import paddle
import paddle.nn.functional as F
from paddle import nn

from fastdiffusers.models.place import on_cpu

NORM_EPSILON = 1e-6
# Attention holds one row of scores a token for every query of a chunk: 1,024 queries against the 16,384 tokens of a
# 1,024 x 1,024 picture are 64 MiB, where all of them at once would be 1 GiB.
QUERY_CHUNK = 1024
# Patches copied at once by a convolution: 16 MiB of float32. Measured with two threads on three of FLUX.1's layers
# (256 -> 128 channels at 512 x 512, ...): 1.4 to 2 times faster than all patches at once; 4 and 64 MiB are no better.
PATCH_NUMBERS = 4 * 2**20


def _uniform(fan_in: int) -> paddle.ParamAttr:
    """Uniform in ±1/sqrt(fan_in): the start diffusers' layers have, and small enough for residual branches."""
    bound = 1.0 / math.sqrt(fan_in)
    return paddle.ParamAttr(initializer=nn.initializer.Uniform(-bound, bound))


class Convolution(nn.Conv2D):
    """A convolution with bias, started as diffusers starts it.

    Paddle's eager CPU kernel adds the bias by a broadcast that takes as long as the convolution; there it is added as
    the rank-one product bias · 1ᵀ by BLAS, several times faster forwards and backwards. The kernel also copies each
    input patch (im2col: 10 GB for 256 channels at 1,024 x 1,024), so without gradients it is given bands of rows.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int, stride: int = 1, padding: int | list[int] = 0
    ) -> None:
        start = _uniform(in_channels * kernel * kernel)
        super().__init__(in_channels, out_channels, kernel, stride, padding, weight_attr=start, bias_attr=start)
        self._top, self._bottom, self._left, self._right = [padding] * 4 if isinstance(padding, int) else padding

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        if not _eager_on_cpu(x):
            return super().forward(x)
        height, width = x.shape[2:]
        kernel, stride = self._kernel_size[0], self._stride[0]
        count = (height + self._top + self._bottom - kernel) // stride + 1
        size = self._in_channels * kernel * kernel * (width // stride)
        parts = []
        for first, last in _bands(count, size):
            start, stop = first * stride - self._top, (last - 1) * stride - self._top + kernel
            padding = [max(0, -start), max(0, stop - height), self._left, self._right]
            rows = x[:, :, max(0, start) : min(height, stop)] if last - first < count else x
            parts.append(_add_bias(F.conv2d(rows, self.weight, None, stride, padding), self.bias))
        return _joined(parts)


def _bands(rows: int, size: int) -> list[tuple[int, int]]:
    """Ranges of output rows whose patches of ``size`` numbers a row fit PATCH_NUMBERS; one range if gradients are kept.

    (With gradients, every slice would cost a full-size tensor on the way back.)
    """
    step = rows if paddle.is_grad_enabled() else max(1, PATCH_NUMBERS // size)
    return [(first, min(rows, first + step)) for first in range(0, rows, step)]


def _joined(parts: list[paddle.Tensor]) -> paddle.Tensor:
    return parts[0] if len(parts) == 1 else paddle.concat(parts, axis=2)


def _eager_on_cpu(x: paddle.Tensor) -> bool:
    """Whether Paddle's own CPU kernels will run; engines that compile a graph do better with the plain operators."""
    return paddle.in_dynamic_mode() and x.place.is_cpu_place()


def _add_bias(x: paddle.Tensor, bias: paddle.Tensor) -> paddle.Tensor:
    """x ``[B, C, H, W]`` + bias ``[C]``, on CPU."""
    batch, channels, height, width = x.shape
    column = bias.reshape([1, channels, 1]).expand([batch, channels, 1])
    ones = paddle.ones([batch, 1, height * width], dtype=x.dtype)
    return paddle.baddbmm(x.flatten(2), column, ones).reshape(x.shape)


def linear(in_features: int, out_features: int) -> nn.Linear:
    """A linear layer with bias, started as diffusers starts it."""
    start = _uniform(in_features)
    return nn.Linear(in_features, out_features, weight_attr=start, bias_attr=start)


class ResnetBlock2D(nn.Layer):
    """x + conv(silu(norm(conv(silu(norm(x)))))), with a 1x1 convolution on x where the channels change."""

    def __init__(self, in_channels: int, out_channels: int, groups: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, in_channels, NORM_EPSILON)
        self.conv1 = Convolution(in_channels, out_channels, 3, padding=1)
        self.norm2 = nn.GroupNorm(groups, out_channels, NORM_EPSILON)
        self.conv2 = Convolution(out_channels, out_channels, 3, padding=1)
        self.conv_shortcut = Convolution(in_channels, out_channels, 1) if in_channels != out_channels else None

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        hidden = self.conv1(F.silu(self.norm1(x)))
        hidden = self.conv2(F.silu(self.norm2(hidden)))
        return hidden + (x if self.conv_shortcut is None else self.conv_shortcut(x))


class Attention(nn.Layer):
    """Single-head self-attention over all positions of a feature map, added to its input."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.group_norm = nn.GroupNorm(groups, channels, NORM_EPSILON)
        self.to_q = linear(channels, channels)
        self.to_k = linear(channels, channels)
        self.to_v = linear(channels, channels)
        self.to_out = nn.LayerList([linear(channels, channels)])

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        channels = x.shape[1]
        tokens = self.group_norm(x).flatten(2).transpose([0, 2, 1])
        heads = [0, -1, 1, channels]
        query = self.to_q(tokens).reshape(heads)
        key = self.to_k(tokens).reshape(heads)
        value = self.to_v(tokens).reshape(heads)
        count = tokens.shape[1]
        if isinstance(count, int) and count > QUERY_CHUNK:  # else few, or not known where it is traced
            parts = [
                F.scaled_dot_product_attention(query[:, start : start + QUERY_CHUNK], key, value)
                for start in range(0, count, QUERY_CHUNK)
            ]
            mixed = paddle.concat(parts, axis=1)
        else:
            mixed = F.scaled_dot_product_attention(query, key, value)
        mixed = self.to_out[0](mixed.reshape([0, -1, channels]))
        return x + mixed.transpose([0, 2, 1]).reshape(x.shape)


class Downsample2D(nn.Layer):
    """Halves height and width; the padding sits at the bottom and on the right only."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = Convolution(channels, channels, 3, stride=2, padding=[0, 1, 0, 1])

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return self.conv(x)


class Upsample2D(nn.Layer):
    """Doubles height and width by repeating pixels, then convolves.

    The two are one transposed convolution of stride 2: along each axis the input pixel i is repeated at 2i and 2i + 1,
    so it reaches the outputs 2i - 1 .. 2i + 2 with the weights w2, w1 + w2, w0 + w1, w0. Four taps an axis on the small
    picture instead of three on the large one are less than half the products, and the large copy is never made.
    """

    SPREAD = ((0.0, 0.0, 1.0), (0.0, 1.0, 1.0), (1.0, 1.0, 0.0), (1.0, 0.0, 0.0))

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = Convolution(channels, channels, 3, padding=1)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        if not on_cpu():
            return self.conv(F.interpolate(x, scale_factor=2, mode="nearest"))
        spread = paddle.to_tensor(self.SPREAD, dtype=x.dtype)
        kernel = paddle.matmul(paddle.matmul(spread, self.conv.weight), spread, transpose_y=True).transpose(
            [1, 0, 2, 3]
        )
        if not _eager_on_cpu(x):
            return F.conv2d_transpose(x, kernel, self.conv.bias, stride=2, padding=1)
        _, channels, height, width = x.shape
        parts = []
        for first, last in _bands(height, 16 * channels * width):
            # A row of input reaches one row of output beyond its own two: take a neighbour along, drop its two rows.
            start, stop = max(0, first - 1), min(height, last + 1)
            band = F.conv2d_transpose(x[:, :, start:stop] if last - first < height else x, kernel, stride=2, padding=1)
            if last - first < height:
                band = band[:, :, 2 * (first - start) : 2 * (last - start)]
            parts.append(_add_bias(band, self.conv.bias))
        return _joined(parts)


class DownEncoderBlock2D(nn.Layer):
    """One level of the encoder: ``layers`` residual blocks, then a halving unless it is the last level."""

    def __init__(self, in_channels: int, out_channels: int, layers: int, groups: int, downsample: bool) -> None:
        super().__init__()
        widths = [in_channels] + [out_channels] * layers
        self.resnets = nn.LayerList([ResnetBlock2D(widths[i], out_channels, groups) for i in range(layers)])
        self.downsamplers = nn.LayerList([Downsample2D(out_channels)]) if downsample else None

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        for resnet in self.resnets:
            x = resnet(x)
        return x if self.downsamplers is None else self.downsamplers[0](x)


class UpDecoderBlock2D(nn.Layer):
    """One level of the decoder: ``layers`` residual blocks, then a doubling unless it is the last level."""

    def __init__(self, in_channels: int, out_channels: int, layers: int, groups: int, upsample: bool) -> None:
        super().__init__()
        widths = [in_channels] + [out_channels] * layers
        self.resnets = nn.LayerList([ResnetBlock2D(widths[i], out_channels, groups) for i in range(layers)])
        self.upsamplers = nn.LayerList([Upsample2D(out_channels)]) if upsample else None

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        for resnet in self.resnets:
            x = resnet(x)
        return x if self.upsamplers is None else self.upsamplers[0](x)


class UNetMidBlock2D(nn.Layer):
    """Two residual blocks at the lowest resolution, with attention between them if the configuration wants it."""

    def __init__(self, channels: int, groups: int, attention: bool) -> None:
        super().__init__()
        self.attentions = nn.LayerList([Attention(channels, groups)]) if attention else None
        self.resnets = nn.LayerList([ResnetBlock2D(channels, channels, groups) for _ in range(2)])

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        x = self.resnets[0](x)
        if self.attentions is not None:
            x = self.attentions[0](x)
        return self.resnets[1](x)
