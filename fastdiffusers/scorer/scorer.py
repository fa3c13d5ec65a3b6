"""What reports ask of the scorer: embeddings, their cosines, features for the Fréchet distance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import paddle
import paddle.nn.functional as F

from fastdiffusers.errors import InputError
from fastdiffusers.scorer.network import ScorerNetwork
from fastdiffusers.scorer.preparing import prepared
from fastdiffusers.scorer.words import Words, padded

if TYPE_CHECKING:
    from fastdiffusers.scorer.preparing import Pictures

BATCH = 64


class Scorer:
    """A trained `ScorerNetwork`. Pictures are uint8 ``[N, H, W, 3]`` or a list of PIL images, of any size.

    ``sha256`` is that of the weights file, ``scale`` the factor on cosines that the training arrived at. Pictures that
    cannot be read raise `InputError`.
    """

    def __init__(self, network: ScorerNetwork, sha256: str) -> None:
        self.network = network
        self.sha256 = sha256
        self.scale = float(network.scale().item())
        self.words = Words(network.config.words)

    def embed_images(self, pictures: Pictures) -> np.ndarray:
        """Unit vectors, float32 ``[N, D]``."""
        return self._see(pictures)[1]

    def features(self, pictures: Pictures) -> np.ndarray:
        """Penultimate features on their 64 first principal axes, float32 ``[N, 64]``: what Fréchet distances are of.

        The axes are those of real renderings (all core concepts, with the data's grounds, styles and mirror images).
        They are not whitened: one number scales them all, so that the variances of real renderings add up to 1, and a
        Fréchet distance is in units of the total variance of the data.
        """
        return self._see(pictures)[0]

    def embed_texts(self, texts: Sequence[str]) -> np.ndarray:
        """Unit vectors, float32 ``[N, D]``. Unknown words are tolerated; `unknown_words` names them."""
        if isinstance(texts, str) or not len(texts):
            raise InputError(f"texts {texts!r} are not valid; a list of at least 1 text is")
        parts = []
        with paddle.no_grad():
            for i in range(0, len(texts), BATCH):
                ids = padded([self.words.numbers(text) for text in texts[i : i + BATCH]])
                parts.append(F.normalize(self.network.text(paddle.to_tensor(ids)), axis=-1).numpy())
        return np.concatenate(parts)

    def clip_score(self, pictures: Pictures, texts: Sequence[str]) -> np.ndarray:
        """Cosine of each picture with its text, float32 ``[N]``; comparable only with other cosines of the same scorer.

        CLIP score (Hessel et al. 2021) without its factor 2.5 and without cutting negative values off.
        """
        if len(pictures) != len(texts):
            raise InputError(f"{len(pictures)} pictures but {len(texts)} texts; give one for each")
        return np.einsum("nd,nd->n", self.embed_images(pictures), self.embed_texts(texts))

    def unknown_words(self, text: str) -> list[str]:
        """The words of ``text`` that the scorer never saw and therefore cannot judge by."""
        return self.words.unknown(text)

    def _see(self, pictures: Pictures) -> tuple[np.ndarray, np.ndarray]:
        features, embeddings = [], []
        with paddle.no_grad():
            for i in range(0, max(1, len(pictures)), BATCH):
                some = prepared(pictures[i : i + BATCH], self.network.config.image_size)
                hidden, embedding = self.network.image(paddle.to_tensor(some))
                features.append(self.network.reduce(hidden).numpy())
                embeddings.append(F.normalize(embedding, axis=-1).numpy())
        return np.concatenate(features), np.concatenate(embeddings)
