"""A scorer by formula in place of the trained one: quick, and figures can be computed by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


class ScriptedScorer:
    """Features are the means of four quarters of a picture's red; embeddings its mean colour, texts their length."""

    sha256 = "5c" * 32

    def __init__(self) -> None:
        self.most = 0  # pictures at once

    def features(self, pictures: Sequence[Any]) -> np.ndarray:
        self.most = max(self.most, len(pictures))
        return np.stack([quarters(np.asarray(picture)) for picture in pictures]).astype(np.float32)

    def embed_images(self, pictures: Sequence[Any]) -> np.ndarray:
        return unit(np.stack([np.asarray(picture).mean(axis=(0, 1)) + 1 for picture in pictures]))

    def embed_texts(self, texts: list[str]) -> np.ndarray:
        return unit(np.array([[len(text), 5.0, 1.0] for text in texts]))


def quarters(picture: np.ndarray) -> np.ndarray:
    """float64 ``[4]``."""
    red = picture[..., 0].astype(np.float64) / 255
    height, width = red.shape
    return red.reshape(2, height // 2, 2, width // 2).mean(axis=(1, 3)).reshape(4)


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
