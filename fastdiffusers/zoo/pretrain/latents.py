"""The pictures as the transformer sees them: encoded once on every ground, scaled, packed, kept on disk."""

from __future__ import annotations

import hashlib
import itertools
from contextlib import suppress
from pathlib import Path

import numpy as np
import paddle
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from fastdiffusers.files import atomic_write, cache_dir, sha256_file
from fastdiffusers.models.autoencoder_kl import AutoencoderKL
from fastdiffusers.weights import weight_files
from fastdiffusers.zoo.emoji import EmojiDataset
from fastdiffusers.zoo.pretrain.captions import GROUNDS


def pack(latents: np.ndarray) -> np.ndarray:
    """``[B, C, H, W]`` to FLUX's tokens ``[B, H/2·W/2, 4·C]``: each token holds a 2x2 square, channel by channel."""
    batch, channels, height, width = latents.shape
    squares = latents.reshape(batch, channels, height // 2, 2, width // 2, 2)
    return squares.transpose(0, 2, 4, 1, 3, 5).reshape(batch, height // 2 * (width // 2), channels * 4)


def unpack(tokens: np.ndarray, height: int, width: int) -> np.ndarray:
    """The inverse of `pack`, for latents of ``height`` by ``width``."""
    batch, _, wide = tokens.shape
    squares = tokens.reshape(batch, height // 2, width // 2, wide // 4, 2, 2)
    return squares.transpose(0, 3, 1, 4, 2, 5).reshape(batch, wide // 4, height, width)


def image_ids(height: int, width: int) -> np.ndarray:
    """(0, row, column) of every token of latents of ``height`` by ``width``: float32 ``[height/2·width/2, 3]``."""
    rows, columns = np.mgrid[: height // 2, : width // 2]
    return np.stack([np.zeros(rows.size), rows.ravel(), columns.ravel()], axis=1).astype(np.float32)


def encode_all(vae: AutoencoderKL, data: EmojiDataset, vae_folder: Path) -> np.ndarray:
    """Packed latents of every picture, plain and mirrored, on every ground.

    float16 ``[2, pictures, grounds, tokens, channels]``, the mirror images second; read from the cache when the same
    autoencoder has encoded the same pictures before.
    """
    parts = [*map(sha256_file, weight_files(vae_folder)), str(vae.config.shift_factor), str(vae.config.scaling_factor)]
    parts += ["mirrored", str(data.size), pixel_hash(data)]
    parts += [f"{entry['style']} {entry['hexcode']}" for entry in data.entries]
    name = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
    path = cache_dir() / "latents" / f"emoji-{data.size}-{name}.safetensors"
    if path.is_file():
        with suppress(OSError, KeyError, SafetensorError):  # damaged: encode again
            return load_file(path)["latents"]
    result = []
    with paddle.no_grad():
        for mirrored, ground in itertools.product((False, True), GROUNDS):
            encoded = []
            for start in range(0, len(data), 32):
                rows = range(start, min(start + 32, len(data)))
                pictures = paddle.to_tensor(data.batch(rows, [ground] * len(rows), [mirrored] * len(rows)))
                encoded.append(vae.scale_latents(vae.encode(pictures).mode()).numpy())
            result.append(pack(np.concatenate(encoded)).astype(np.float16))
    both = np.stack(result).reshape(2, len(GROUNDS), *result[0].shape)
    latents = np.ascontiguousarray(both.swapaxes(1, 2))
    with atomic_write(path) as temporary:
        save_file({"latents": latents}, temporary)
    return latents


def pixel_hash(data: EmojiDataset) -> str:
    """SHA-256 of all pictures: on white and on black, which together tell colour and opacity."""
    digest = hashlib.sha256()
    for i in range(len(data)):
        for ground in ("white", "black"):
            digest.update(data.image(i, ground).tobytes())
    return digest.hexdigest()


def decode(vae: AutoencoderKL, tokens: np.ndarray, size: int) -> np.ndarray:
    """Packed latents as pictures: float32 ``[B, 3, size, size]`` in about [-1, 1]."""
    side = size // vae.vae_scale_factor
    with paddle.no_grad():
        latents = paddle.to_tensor(unpack(tokens.astype(np.float32), side, side))
        return vae.decode(vae.unscale_latents(latents)).numpy()
