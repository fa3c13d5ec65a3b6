"""The usual Inception-v3 as a judge of pictures: the features of FID and KID, from a safetensors file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import paddle
from safetensors import SafetensorError, safe_open

from fastdiffusers.errors import InputError, WeightsError
from fastdiffusers.files import sha256_file
from fastdiffusers.models.inception_v3 import SIDE, InceptionV3
from fastdiffusers.scorer.preparing import picture_of
from fastdiffusers.weights.layers import load_state
from fastdiffusers.weights.layout import PICKLES

if TYPE_CHECKING:
    from fastdiffusers.scorer.preparing import Pictures

BATCH = 8
CLASSES = 1008


class InceptionFeatures:
    """FID's network; ``name`` is that of its file without the ending, ``sha256`` that of its bytes."""

    def __init__(self, network: InceptionV3, name: str, sha256: str) -> None:
        self.network, self.name, self.sha256 = network, name, sha256

    def features(self, pictures: Pictures) -> np.ndarray:
        """Pooled features, float32 ``[N, 2048]``; pictures are uint8 ``[N, H, W, 3]`` or PIL images, of any size."""
        if not len(pictures):
            raise InputError("there are no pictures; at least 1 is needed")
        parts = []
        with paddle.no_grad():
            for i in range(0, len(pictures), BATCH):
                some = np.stack([enlarged(np.asarray(picture_of(picture))) for picture in pictures[i : i + BATCH]])
                prepared = (some.transpose(0, 3, 1, 2) - np.float32(128)) / np.float32(128)
                parts.append(self.network(paddle.to_tensor(np.ascontiguousarray(prepared))).numpy())
        return np.concatenate(parts)


def enlarged(picture: np.ndarray, side: int = SIDE) -> np.ndarray:
    """uint8 ``[H, W, 3]`` to float32 ``[side, side, 3]`` in [0, 255], linearly between the four nearest pixels.

    As the graph that FID was defined with has it: pixel i of n lies at i·H/n, its corner and not its middle, and
    nothing is smoothed where a picture shrinks. Other resizings move a FID by several points (Parmar et al. 2022, "On
    Aliased Resizing and Surprising Subtleties in GAN Evaluation").
    """
    values = picture.astype(np.float32)
    for axis in (0, 1):
        size = values.shape[axis]
        place = np.arange(side) * (size / side)
        low = np.floor(place).astype(np.int64)
        high = np.minimum(low + 1, size - 1)
        weight = (place - low).astype(np.float32).reshape((-1, 1, 1) if axis == 0 else (1, -1, 1))
        first, second = values.take(low, axis), values.take(high, axis)
        values = first + (second - first) * weight
    return values


def load_inception(file: Path | str) -> InceptionFeatures:
    """Open FID's Inception-v3: a safetensors file with the parameter names of pytorch-fid and torch-fidelity.

    `WeightsError` for a pickle, for a file that lacks a weight, and for the other Inception-v3 (ImageNet's, 1000
    classes), whose features give no FID.
    """
    path = Path(file)
    if path.suffix in PICKLES:
        raise WeightsError(f"{str(path)!r} is a pickle, which can run code when opened; convert it to safetensors")
    if not path.is_file():
        raise WeightsError(f"{str(path)!r} is not a file; FID's Inception-v3 as safetensors is needed")
    try:
        with safe_open(str(path), framework="np") as reader:
            classes = reader.get_slice("fc.weight").get_shape()[0] if "fc.weight" in reader.keys() else CLASSES  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{str(path)!r} is truncated or no safetensors file: {error}") from None
    if classes != CLASSES:
        raise WeightsError(
            f"{str(path)!r} classifies {classes} classes and is not FID's Inception-v3, which has {CLASSES}"
        )
    with paddle.LazyGuard():
        network = InceptionV3()
    load_state(network, [path], rename=InceptionV3.rename)
    network.eval()
    return InceptionFeatures(network, path.stem, sha256_file(path))
