"""A published CLIP as a judge of pictures and captions, from a folder of transformers' layout."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import paddle
import paddle.nn.functional as F

from fastdiffusers.errors import InputError
from fastdiffusers.files import sha256_file
from fastdiffusers.models.clip import CLIPModel
from fastdiffusers.models.tokenizers import CLIPTokenizer
from fastdiffusers.scorer.clip_preparing import FILE, Preparation, read_preparation
from fastdiffusers.weights.layers import load_layer
from fastdiffusers.weights.layout import weight_files

if TYPE_CHECKING:
    from fastdiffusers.scorer.preparing import Pictures

BATCH = 16


class ClipScorer:
    """CLIP with its tokenizer and its way of preparing pictures; pictures as `Scorer` takes them.

    ``name`` is that of its folder; ``sha256`` is over all that decides how it sees pictures: weights, configuration,
    preparation.
    """

    def __init__(
        self, network: CLIPModel, tokenizer: CLIPTokenizer, preparation: Preparation, name: str, sha256: str
    ) -> None:
        self.network, self.tokenizer, self.preparation = network, tokenizer, preparation
        self.name, self.sha256 = name, sha256

    def embed_images(self, pictures: Pictures) -> np.ndarray:
        """Unit vectors, float32 ``[N, projection_dim]``."""
        if not len(pictures):
            raise InputError("there are no pictures; at least 1 is needed")
        parts = []
        with paddle.no_grad():
            for i in range(0, len(pictures), BATCH):
                prepared = paddle.to_tensor(self.preparation(pictures[i : i + BATCH]))
                parts.append(F.normalize(self.network.image_features(prepared), axis=-1).numpy())
        return np.concatenate(parts)

    def embed_texts(self, texts: Sequence[str]) -> np.ndarray:
        """Unit vectors, float32 ``[N, projection_dim]``; what is longer than CLIP reads is cut off."""
        if isinstance(texts, str) or not len(texts):
            raise InputError(f"texts {texts!r} are not valid; a list of at least 1 text is")
        length = min(self.tokenizer.max_length, self.network.config.text_config.max_position_embeddings)
        parts = []
        with paddle.no_grad():
            for i in range(0, len(texts), BATCH):
                ids = self.tokenizer(list(texts[i : i + BATCH]), length).ids
                parts.append(F.normalize(self.network.text_features(paddle.to_tensor(ids)), axis=-1).numpy())
        return np.concatenate(parts)


def load_clip(folder: Path | str) -> ClipScorer:
    """Open a folder with ``config.json`` (of a ``CLIPModel``), ``model.safetensors`` and the tokenizer's files.

    ``preprocessor_config.json`` is read where it is there. `WeightsError` says what is missing or does not fit.
    """
    place = Path(folder)
    files = weight_files(place)
    network = load_layer(CLIPModel, place)
    tokenizer = CLIPTokenizer.from_folder(place)
    preparation = read_preparation(place, network.config.vision_config.image_size)
    settings = [place / name for name in ("config.json", FILE) if (place / name).is_file()]
    lines = [f"{sha256_file(file)}  {file.name}\n" for file in (*files, *settings)]
    digest = hashlib.sha256("".join(lines).encode()).hexdigest()
    return ClipScorer(network, tokenizer, preparation, place.resolve().name, digest)
