"""AutoencoderKL: pictures to latents and back, with diffusers' configuration keys and parameter names.

Source: Rombach et al., "High-Resolution Image Synthesis with Latent Diffusion Models" (2022), section 3.1; FLUX.1 uses
it with 16 latent channels, a shift and no 1x1 convolutions around the latent.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import paddle
import paddle.nn.functional as F
from paddle import nn

from fastdiffusers.errors import InputError, UserError
from fastdiffusers.models.config import ModelConfig
from fastdiffusers.models.vae_blocks import (
    NORM_EPSILON,
    Convolution,
    DownEncoderBlock2D,
    UNetMidBlock2D,
    UpDecoderBlock2D,
)

LEGACY_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}


@dataclass(frozen=True)
class AutoencoderKLConfig(ModelConfig):
    """diffusers' configuration of an AutoencoderKL, with diffusers' defaults (Stable Diffusion's, not FLUX's).

    ``layers_per_block`` counts the residual blocks of an encoder level; a decoder level has one more.
    ``sample_size`` and ``force_upcast`` change nothing here (no tiling, no change of dtype) and are kept so that a
    saved model says the same as the one it came from.
    """

    CLASS_NAME: ClassVar[str | None] = "AutoencoderKL"

    in_channels: int = 3
    out_channels: int = 3
    down_block_types: tuple[str, ...] = ("DownEncoderBlock2D",)
    up_block_types: tuple[str, ...] = ("UpDecoderBlock2D",)
    block_out_channels: tuple[int, ...] = (64,)
    layers_per_block: int = 1
    act_fn: str = "silu"
    latent_channels: int = 4
    norm_num_groups: int = 32
    sample_size: int = 32
    scaling_factor: float = 0.18215
    shift_factor: float | None = None
    latents_mean: tuple[float, ...] | None = None
    latents_std: tuple[float, ...] | None = None
    force_upcast: bool = True
    use_quant_conv: bool = True
    use_post_quant_conv: bool = True
    mid_block_add_attention: bool = True

    def check(self) -> None:
        """Raise UserError for a value that this implementation does not have or that contradicts another one."""
        for key in ("in_channels", "out_channels", "layers_per_block", "latent_channels", "norm_num_groups"):
            value = getattr(self, key)
            if not _positive_int(value):
                raise UserError(f"AutoencoderKL: {key} is {value!r}; valid: a whole number of at least 1")
        widths, groups = self.block_out_channels, self.norm_num_groups
        if not isinstance(widths, tuple) or not widths or not all(_positive_int(w) and w % groups == 0 for w in widths):
            raise UserError(
                f"AutoencoderKL: block_out_channels is {widths!r}; "
                f"valid: one or more positive multiples of norm_num_groups={groups}"
            )
        for key, valid in (("down_block_types", "DownEncoderBlock2D"), ("up_block_types", "UpDecoderBlock2D")):
            value = getattr(self, key)
            if value != (valid,) * len(widths):
                raise UserError(
                    f"AutoencoderKL: {key} is {value!r}; valid: {valid} once for each of {len(widths)} levels"
                )
        if self.act_fn not in ("silu", "swish"):
            raise UserError(f"AutoencoderKL: act_fn is {self.act_fn!r}; valid: 'silu', 'swish' (the same function)")
        if not _number(self.scaling_factor) or self.scaling_factor == 0:
            raise UserError(f"AutoencoderKL: scaling_factor is {self.scaling_factor!r}; valid: any number but 0")
        if self.shift_factor is not None and not _number(self.shift_factor):
            raise UserError(f"AutoencoderKL: shift_factor is {self.shift_factor!r}; valid: a number or null")
        self._check_latent_statistics()

    def _check_latent_statistics(self) -> None:
        mean, std = self.latents_mean, self.latents_std
        for key, value in (("latents_mean", mean), ("latents_std", std)):
            if value is not None and (
                not isinstance(value, tuple) or len(value) != self.latent_channels or not all(map(_number, value))
            ):
                raise UserError(
                    f"AutoencoderKL: {key} is {value!r}; valid: {self.latent_channels} numbers, one a channel"
                )
        if (mean is None) != (std is None) or (mean is not None and self.shift_factor):
            raise UserError(
                f"AutoencoderKL: latents_mean is {mean!r}, latents_std {std!r} and shift_factor {self.shift_factor!r}; "
                "valid: mean and std together and no shift_factor, or neither"
            )


def _positive_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


class DiagonalGaussianDistribution:
    """The posterior N(mean, diag(std²)) over latents that the encoder gives for each picture.

    Args:
        moments: ``[B, 2·C, h, w]``, means first, then log variances (clamped to -30..20).
    """

    def __init__(self, moments: paddle.Tensor) -> None:
        self.mean, logvar = paddle.chunk(moments, 2, axis=1)
        self.logvar = paddle.clip(logvar, -30.0, 20.0)

    @property
    def std(self) -> paddle.Tensor:
        """Standard deviation, ``[B, C, h, w]``."""
        return paddle.exp(0.5 * self.logvar)

    @property
    def var(self) -> paddle.Tensor:
        """Variance, ``[B, C, h, w]``."""
        return paddle.exp(self.logvar)

    def mode(self) -> paddle.Tensor:
        """The most probable latent, which is the mean."""
        return self.mean

    def sample(self, noise: paddle.Tensor) -> paddle.Tensor:
        """mean + std · noise, for standard normal ``noise`` of the mean's shape; differentiable in the moments."""
        if list(noise.shape) != list(self.mean.shape):
            raise InputError(f"noise has shape {list(noise.shape)}; valid: the latent's shape {list(self.mean.shape)}")
        return self.mean + self.std * noise

    def kl(self) -> paddle.Tensor:
        """Kullback-Leibler divergence from N(0, 1) in nats, summed over the latent: ``[B]``."""
        return 0.5 * paddle.sum(self.mean.square() + self.var - 1.0 - self.logvar, axis=[1, 2, 3])


class Encoder(nn.Layer):
    """Pictures ``[B, in_channels, H, W]`` to ``[B, 2·latent_channels, H/f, W/f]``."""

    def __init__(self, config: AutoencoderKLConfig) -> None:
        super().__init__()
        widths, groups = config.block_out_channels, config.norm_num_groups
        self.conv_in = Convolution(config.in_channels, widths[0], 3, padding=1)
        self.down_blocks = nn.LayerList(
            [
                DownEncoderBlock2D(before, width, config.layers_per_block, groups, downsample=i < len(widths) - 1)
                for i, (before, width) in enumerate(zip(widths[:1] + widths, widths, strict=False))
            ]
        )
        self.mid_block = UNetMidBlock2D(widths[-1], groups, config.mid_block_add_attention)
        self.conv_norm_out = nn.GroupNorm(groups, widths[-1], NORM_EPSILON)
        self.conv_out = Convolution(widths[-1], 2 * config.latent_channels, 3, padding=1)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        x = self.conv_in(x)
        for block in self.down_blocks:
            x = block(x)
        return self.conv_out(F.silu(self.conv_norm_out(self.mid_block(x))))


class Decoder(nn.Layer):
    """Latents ``[B, latent_channels, h, w]`` to pictures ``[B, out_channels, h·f, w·f]``."""

    def __init__(self, config: AutoencoderKLConfig) -> None:
        super().__init__()
        widths, groups = config.block_out_channels[::-1], config.norm_num_groups
        self.conv_in = Convolution(config.latent_channels, widths[0], 3, padding=1)
        self.mid_block = UNetMidBlock2D(widths[0], groups, config.mid_block_add_attention)
        self.up_blocks = nn.LayerList(
            [
                UpDecoderBlock2D(before, width, config.layers_per_block + 1, groups, upsample=i < len(widths) - 1)
                for i, (before, width) in enumerate(zip(widths[:1] + widths, widths, strict=False))
            ]
        )
        self.conv_norm_out = nn.GroupNorm(groups, widths[-1], NORM_EPSILON)
        self.conv_out = Convolution(widths[-1], config.out_channels, 3, padding=1)

    def forward(self, z: paddle.Tensor) -> paddle.Tensor:
        x = self.mid_block(self.conv_in(z))
        for block in self.up_blocks:
            x = block(x)
        return self.conv_out(F.silu(self.conv_norm_out(x)))


class AutoencoderKL(nn.Layer):
    """The variational autoencoder between pictures in [-1, 1] and latents.

    ``scale_latents``/``unscale_latents`` go between the latent and the space in which the diffusion model works:
    z = (latent - shift_factor) · scaling_factor.
    """

    Config = AutoencoderKLConfig

    def __init__(self, config: AutoencoderKLConfig) -> None:
        super().__init__()
        config.check()
        self.config = config
        channels = config.latent_channels
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)
        self.quant_conv = Convolution(2 * channels, 2 * channels, 1) if config.use_quant_conv else None
        self.post_quant_conv = Convolution(channels, channels, 1) if config.use_post_quant_conv else None

    @staticmethod
    def rename(name: str) -> str:
        """Our name of a weight in a file: checkpoints of before 2023 have other names for the attention's parts."""
        for old, new in LEGACY_ATTENTION.items():
            name = name.replace(f".attentions.0.{old}.", f".attentions.0.{new}.")
        return name

    @property
    def vae_scale_factor(self) -> int:
        """How many pixels one latent position covers in each direction: 2 ** (levels - 1)."""
        return 2 ** (len(self.config.block_out_channels) - 1)

    def encode(self, images: paddle.Tensor) -> DiagonalGaussianDistribution:
        """The posterior of ``images [B, in_channels, H, W]`` in [-1, 1]; its latents are ``[B, C, H/f, W/f]``."""
        self._check_input("images", images, self.config.in_channels, self.vae_scale_factor)
        moments = self.encoder(images)
        return DiagonalGaussianDistribution(moments if self.quant_conv is None else self.quant_conv(moments))

    def decode(self, z: paddle.Tensor) -> paddle.Tensor:
        """Pictures ``[B, out_channels, h·f, w·f]``, about [-1, 1] and not clipped, of latents ``[B, C, h, w]``."""
        self._check_input("latents", z, self.config.latent_channels, 1)
        return self.decoder(z if self.post_quant_conv is None else self.post_quant_conv(z))

    def forward(self, images: paddle.Tensor, noise: paddle.Tensor | None = None) -> paddle.Tensor:
        """The reconstruction of ``images``: from the posterior's mode, or from its sample at ``noise``."""
        posterior = self.encode(images)
        return self.decode(posterior.mode() if noise is None else posterior.sample(noise))

    def scale_latents(self, latents: paddle.Tensor) -> paddle.Tensor:
        """Latents to the diffusion model's space: (latent - shift) · scaling_factor, or by channel mean and std."""
        shift, scale = self._shift_and_scale()
        return (latents - shift) * scale

    def unscale_latents(self, z: paddle.Tensor) -> paddle.Tensor:
        """The inverse of ``scale_latents``, what ``decode`` wants: z / scaling_factor + shift."""
        shift, scale = self._shift_and_scale()
        return z / scale + shift

    def _shift_and_scale(self) -> tuple[float | paddle.Tensor, float | paddle.Tensor]:
        config = self.config
        if config.latents_mean is None or config.latents_std is None:
            return config.shift_factor or 0.0, config.scaling_factor
        mean = paddle.to_tensor(config.latents_mean, dtype="float32").reshape([1, -1, 1, 1])
        std = paddle.to_tensor(config.latents_std, dtype="float32").reshape([1, -1, 1, 1])
        return mean, config.scaling_factor / std

    @staticmethod
    def _check_input(what: str, x: paddle.Tensor, channels: int, smallest: int) -> None:
        shape = list(x.shape)
        if len(shape) != 4 or shape[1] != channels or min(shape[2:]) < smallest:
            raise InputError(
                f"{what} have shape {shape}; valid: [batch, {channels}, height, width], sides of at least {smallest}"
            )
