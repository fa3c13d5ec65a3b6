"""Trains the autoencoder: emoji pictures to 16-channel latents an eighth of the size, and back."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import paddle

from fastdiffusers.errors import InputError
from fastdiffusers.models.autoencoder_kl import AutoencoderKL
from fastdiffusers.training.recipe import TrainerConfig, key
from fastdiffusers.training.task import ParameterGroup, Step, Task
from fastdiffusers.weights import save_layer
from fastdiffusers.zoo.emoji import PALETTE, default_folder
from fastdiffusers.zoo.pretrain.augment import augmented
from fastdiffusers.zoo.pretrain.dataset import open_pictures, stored_size
from fastdiffusers.zoo.pretrain.pictures import grid, psnr, to_uint8
from fastdiffusers.zoo.pretrain.select import muon_names

OUTER = r"conv_in|encoder\.conv_out|decoder\.conv_out|quant_conv"


@dataclass(frozen=True)
class VaeConfig(TrainerConfig):
    """Recipe keys of ``fastdiff pretrain vae``."""

    data: str = key("", "folder of `fastdiff data emoji`; empty: its default place")
    size: int = key(96, "side of the pictures in pixels, a multiple of 8", min=16)
    block_out_channels: tuple[int, ...] = key((32, 64, 64, 128), "channels from the pixels inwards", min=8)
    layers_per_block: int = key(1, "residual blocks an encoder level; the decoder has one more", min=1)
    latent_channels: int = key(16, "channels of the latent", min=1)
    norm_num_groups: int = key(16, "groups of the normalisations; divides every width", min=1)
    l1: float = key(0.2, "weight of the mean absolute error", min=0.0)
    gradient_l1: float = key(0.2, "weight of the absolute error of pixel differences", min=0.0)
    kl: float = key(8e-4, "weight of the divergence from N(0, 1), a mean over latent numbers", min=0.0)
    coloured: float = key(0.35, "share of pictures on a coloured ground", min=0.0, max=1.0)
    moved: float = key(0.5, "share of pictures that are turned, scaled and shifted", min=0.0, max=1.0)


class VaeTask(Task):
    """Loss on [-1, 1]: MSE + l1·|e| + gradient_l1·|∇e| + kl·KL."""

    Config = VaeConfig
    config: VaeConfig

    def build(self) -> list[ParameterGroup]:
        config = self.config
        folder = Path(config.data) if config.data else default_folder()
        self.held_out = open_pictures(folder, config.size, "held-out")
        self.data = open_pictures(folder, stored_size(folder))
        levels = len(config.block_out_channels)
        if config.size % 2**levels:
            raise InputError(
                f"recipe key 'size' is {config.size}; valid are multiples of {2**levels} with {levels} levels"
            )
        self.vae = AutoencoderKL(
            AutoencoderKL.Config(
                block_out_channels=config.block_out_channels,
                down_block_types=("DownEncoderBlock2D",) * levels,
                up_block_types=("UpDecoderBlock2D",) * levels,
                layers_per_block=config.layers_per_block,
                latent_channels=config.latent_channels,
                norm_num_groups=config.norm_num_groups,
                sample_size=config.size,
                scaling_factor=1.0,
                shift_factor=0.0,
                use_quant_conv=False,
                use_post_quant_conv=False,
                force_upcast=False,
            )
        )
        parameters = dict(self.vae.named_parameters())
        return [ParameterGroup("model", parameters, muon_names(self.vae, OUTER))]

    @property
    def examples(self) -> int:
        return len(self.data)

    def describe(self) -> list[str]:
        count = sum(int(np.prod(value.shape)) for value in self.vae.parameters())
        return [
            f"AutoencoderKL {'-'.join(map(str, self.vae.config.block_out_channels))}, {count / 1e6:.2f} M parameters",
            f"{len(self.data)} pictures to train on, {len(self.held_out)} of held-out concepts, {self.data.folder}",
        ]

    def batch(self, rows: np.ndarray, rng: np.random.Generator) -> tuple[paddle.Tensor, paddle.Tensor]:
        config = self.config
        pictures = augmented(self.data, rows, rng, config.size, config.coloured, config.moved)
        side = config.size // self.vae.vae_scale_factor
        noise = rng.standard_normal((len(rows), self.vae.config.latent_channels, side, side), dtype=np.float32)
        return paddle.to_tensor(pictures), paddle.to_tensor(noise)

    def step(self, batch: tuple[paddle.Tensor, paddle.Tensor], index: int) -> Step:
        config = self.config
        pictures, noise = batch
        posterior = self.vae.encode(pictures)
        error = self.vae.decode(posterior.sample(noise)) - pictures
        squared = paddle.mean(error * error)
        divergence = paddle.mean(posterior.kl()) / float(np.prod(noise.shape[1:]))
        loss = squared + config.l1 * paddle.mean(paddle.abs(error)) + config.kl * divergence
        if config.gradient_l1:
            across = paddle.mean(paddle.abs(error[:, :, :, 1:] - error[:, :, :, :-1]))
            down = paddle.mean(paddle.abs(error[:, :, 1:] - error[:, :, :-1]))
            loss = loss + config.gradient_l1 * (across + down)
        return Step(loss, metrics={"mse": float(squared.item()), "kl": float(divergence.item())})

    def reconstruct(self, pictures: np.ndarray) -> np.ndarray:
        """Pictures through the autoencoder, without noise: float32 ``[B, 3, H, W]``."""
        with paddle.no_grad():
            parts = [self.vae(paddle.to_tensor(pictures[i : i + 16])).numpy() for i in range(0, len(pictures), 16)]
        return np.concatenate(parts)

    def validate(self) -> Mapping[str, float]:
        """PSNR on up to 96 pictures of held-out concepts, on white and on the colours of the palette in turn."""
        rows = np.linspace(0, len(self.held_out) - 1, min(96, len(self.held_out))).round().astype(int)
        grounds = {"": [None] * len(rows), "coloured_": [list(PALETTE)[i % len(PALETTE)] for i in range(len(rows))]}
        result = {}
        for name, backgrounds in grounds.items():
            pictures = self.held_out.batch(list(rows), backgrounds)
            result[f"held_out_{name}psnr_db"] = psnr(self.reconstruct(pictures), pictures)
        return result

    def sample(self) -> np.ndarray:
        """Held-out pictures above their reconstructions, some on colours."""
        rows = np.linspace(0, len(self.held_out) - 1, 12).round().astype(int)
        colours = [None, None, "blue", None, "green", None, None, "black", None, "yellow", None, "pink"]
        pictures = self.held_out.batch(list(rows), colours)
        both = np.concatenate(
            [pictures[:6], self.reconstruct(pictures[:6]), pictures[6:], self.reconstruct(pictures[6:])]
        )
        return grid(to_uint8(both), 6)

    def export(self, folder: Path) -> dict[str, Any]:
        """``vae/`` in the diffusers layout, with shift and scale from the latents of the training pictures."""
        rows = np.random.default_rng(self.config.seed).permutation(len(self.data))[:384]
        rng = np.random.default_rng(self.config.seed)
        pictures = augmented(self.data, rows, rng, self.config.size, 0.2, 0.0)
        with paddle.no_grad():
            latents = np.concatenate(
                [
                    self.vae.encode(paddle.to_tensor(pictures[i : i + 16])).mode().numpy()
                    for i in range(0, len(rows), 16)
                ]
            )
        shift, scale = float(latents.mean()), float(1.0 / latents.std())
        self.vae.config = dataclasses.replace(self.vae.config, shift_factor=shift, scaling_factor=scale)
        save_layer(self.vae, folder / "vae")
        return {**self.validate(), "shift_factor": shift, "scaling_factor": scale}
