"""The scorer's view of picture sets, computed by workers and kept beside the pictures. No Paddle at the top."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fastdiffusers.evaluation.crew import Crew, Task
from fastdiffusers.evaluation.meter import Meter
from fastdiffusers.evaluation.picture_set import PictureSet, load_chunk, save_chunk

if TYPE_CHECKING:
    from fastdiffusers.scorer.scorer import Scorer


@dataclass(frozen=True)
class Judgement:
    """What the scorer says of a set: ``features`` [N, 64] for distances, ``images`` and ``texts`` unit vectors [N, D]
    of the pictures and of their prompts."""

    features: np.ndarray
    images: np.ndarray
    texts: np.ndarray

    @property
    def clip_scores(self) -> np.ndarray:
        """Cosine of each picture with its own prompt, ``[N]``."""
        return np.einsum("nd,nd->n", self.images.astype(np.float64), self.texts.astype(np.float64))


def judge(
    sets: Sequence[PictureSet], root: Path, crew: Crew, scorer: Path | None = None, show: bool = True
) -> list[Judgement]:
    """Judge sets whose pictures are on disk. ``scorer`` is a folder, None the shipped one.

    What was computed by the same scorer before is read back.
    """
    import fastdiffusers.scorer

    network = fastdiffusers.scorer.load(scorer)
    mark = network.sha256[:12]
    place = None if scorer is None else str(scorer)
    tasks = [
        Task(f"{__name__}:judge_chunk", {"folder": str(item.folder(root)), "chunk": i, "scorer": place, "mark": mark})
        for item in dict.fromkeys(sets)
        for i in sorted({*item.missing(root, f"features-{mark}"), *item.missing(root, f"embedding-{mark}")})
    ]
    if tasks:
        with Meter("judging", len(tasks), "chunks", show) as meter:
            crew.run(tasks, lambda task, result: meter.add(1))
    texts = sorted({prompt for item in sets for prompt in item.prompts})
    row = {text: i for i, text in enumerate(texts)}
    vectors = network.embed_texts(texts)
    return [
        Judgement(
            item.load(root, f"features-{mark}"),
            item.load(root, f"embedding-{mark}"),
            vectors[[row[prompt] for prompt in item.prompts]],
        )
        for item in sets
    ]


def judge_chunk(folder: str, chunk: int, scorer: str | None, mark: str) -> None:
    """What a worker does: the features and embeddings of one chunk."""
    network, place = _scorer(scorer), Path(folder)
    pictures = load_chunk(place, "pictures", chunk)
    save_chunk(place, f"embedding-{mark}", chunk, network.embed_images(pictures))
    save_chunk(place, f"features-{mark}", chunk, network.features(pictures))


@lru_cache(maxsize=1)
def _scorer(place: str | None) -> Scorer:
    import fastdiffusers.scorer

    return fastdiffusers.scorer.load(None if place is None else Path(place))
