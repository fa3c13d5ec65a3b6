"""Retrieval: does a picture's own caption fit it best among many?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastdiffusers.errors import InputError


def retrieval(
    image_embeddings: Any, text_embeddings: Any, texts: Sequence[str], choices: int = 100, seed: int = 0
) -> float:
    """Share of pictures whose own caption scores best among ``choices`` captions, from 0 to 1; chance is 1/choices.

    The score is the product of the embeddings (their cosine, as they are unit vectors). Picture i, whose row is
    ``image_embeddings[i]`` ``[D]``, has the caption ``texts[i]`` with ``text_embeddings[i]``; the others are drawn for
    each picture anew by ``seed`` from the different texts of the list, never its own and none twice. A tie is a miss.

    Raises `InputError` if numbers of rows or their widths differ, or if there are fewer different texts than
    ``choices``.
    """
    images = np.asarray(image_embeddings, dtype=np.float64)
    captions = np.asarray(text_embeddings, dtype=np.float64)
    if images.ndim != 2 or captions.shape != images.shape or len(texts) != len(images):
        raise InputError(
            f"image embeddings {list(images.shape)}, text embeddings {list(captions.shape)} and {len(texts)} texts do "
            "not fit; valid are [N, D], [N, D] and N"
        )
    first = {text: i for i, text in reversed(list(enumerate(texts)))}
    if not 2 <= choices <= len(first):
        raise InputError(f"choices is {choices}; valid are 2 to {len(first)}, the number of different texts")
    different = list(first)
    place = {text: i for i, text in enumerate(different)}
    scores = images @ captions[[first[text] for text in different]].T
    rng = np.random.default_rng(seed)
    hits = 0
    for i, text in enumerate(texts):
        own = place[text]
        others = rng.choice(len(different) - 1, choices - 1, replace=False)
        others += others >= own  # leaves out the picture's own text
        hits += bool(scores[i, own] > scores[i, others].max())
    return hits / len(texts)
