"""How near a few-step student comes to its teacher, as a table: distances with their floor, and the teacher's own rows.

FD is the Fréchet distance between N pictures of a row and N of the teacher at many steps, of the same captions and
*other* seeds, in the scorer's 64 features; its floor is the same of two such sets of the teacher. Rows are judged by
their excess over the floor. No Paddle at the top: pictures are drawn by worker processes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from fastdiffusers.accelerator import Setting
from fastdiffusers.errors import InputError, PlanError
from fastdiffusers.evaluation.backbone import Backbone, few_note
from fastdiffusers.evaluation.crew import Crew
from fastdiffusers.evaluation.drawing import draw
from fastdiffusers.evaluation.judging import Judgement, judge
from fastdiffusers.evaluation.picture_set import PictureSet, load_chunk
from fastdiffusers.evaluation.pinning import pinned
from fastdiffusers.metrics import frechet_distance, kernel_distance, pairwise_distance, psnr, ssim
from fastdiffusers.models.info import ModelInfo

FIRST_SEED, REFERENCE_SEED, DIVERSITY_SEED = 0, 10_000_000, 30_000_000
PAIRED = 512
BOOTSTRAP = 40
PROMPTS, SEEDS = 16, 16
DISTANCES = ("fd", "fid")
FEATURES = 2048
"""Of Inception."""
LEAST = 128
"""Fewer pictures than this give a covariance of 64 features that means nothing."""


@dataclass(frozen=True)
class Question:
    """What is compared.

    Attributes:
        model: what `fastdiffusers.load` takes; info: its description.
        captions: one for each picture of a row.
        accels: one row each, as on the command line.
        reference: steps of the teacher that all is measured against.
        teacher: the teacher's rows: (steps, shift μ), None for the scheduler's own shift.
        guidance: of all.
        root: where pictures are kept.
        clip: judges pictures by their captions in place of the scorer; None: the scorer does.
        inception: of whose features FID and KID are, beside the scorer's.
    """

    model: str
    info: ModelInfo
    captions: tuple[str, ...]
    accels: tuple[str, ...]
    root: Path
    reference: int = 50
    teacher: tuple[tuple[int, float | None], ...] = ()
    guidance: float = 3.5
    clip: Backbone | None = None
    inception: Backbone | None = None

    @property
    def setting(self) -> Setting:
        """What plans are made for: the model's usual one, with this guidance."""
        return replace(self.info.default_setting, guidance=self.guidance)


@dataclass(frozen=True)
class Row:
    """One line of the table before it is measured."""

    accel: str
    steps: int
    mu: float | None = None

    @property
    def label(self) -> str:
        """As in tables."""
        shift = " rule" if self.mu is None else f" μ {self.mu:g}"
        return self.accel or f"teacher@{self.steps}{shift}"


class Evaluation:
    """Draws, judges, compares; everything drawn is kept, so an interrupted evaluation goes on."""

    def __init__(self, question: Question, crew: Crew, show: bool = True) -> None:
        self.question, self.crew, self.show = question, crew, show
        self.rows = [
            *(Row("", steps, mu) for steps, mu in ((question.reference, 0.0), *question.teacher)),
            *(Row(accel, steps_of(question, accel)) for accel in question.accels),
        ]

    def report(self) -> dict[str, Any]:
        """Everything as JSON can hold it."""
        question = self.question
        if len(question.captions) < LEAST:
            raise InputError(f"{len(question.captions)} pictures are too few for a Fréchet distance; at least {LEAST}")
        backbones = self._backbones()  # before anything is drawn: it finds weights that cannot be opened
        target = self._set(Row("", question.reference, 0.0), REFERENCE_SEED)
        reference = self._judged(target)
        rows = []
        for row in self.rows:
            found = {**self._measure(row, reference), **self._by_inception(row, target)}
            first = rows[0] if rows else found
            rows.append(
                {**found, **{f"{name}_excess": found[name] - first[name] for name in DISTANCES if name in found}}
            )
        return {
            "model": {"name": question.info.name, "sha256": question.info.sha256},
            "n": len(question.captions),
            "different_captions": len(set(question.captions)),
            "guidance": question.guidance,
            "reference": f"teacher:{question.reference}",
            "floor": rows[0]["fd"],
            "scorer": self._scorer.sha256,
            **backbones,
            **({"fid_floor": rows[0]["fid"]} if question.inception else {}),
            "paired": min(PAIRED, len(question.captions)),
            "rows": rows,
        }

    def first_pictures(self, count: int) -> dict[str, np.ndarray]:
        """The first pictures of every row that `report` has drawn, by its label."""
        chunks = {
            row.label: load_chunk(self._set(row, FIRST_SEED).folder(self.question.root), "pictures", 0)
            for row in self.rows
        }
        return {label: chunk[:count] for label, chunk in chunks.items()}

    def pictures(self, count: int) -> dict[str, np.ndarray]:
        """The first ``count`` pictures of the teacher and of every accelerator, of the same captions and noise."""
        found = {}
        for row in [self.rows[0], *(row for row in self.rows if row.accel)]:
            item = self._set(row, FIRST_SEED, self.question.captions[:count])
            draw([item], self.question.root, self.crew, self.show)
            found[row.label] = item.load(self.question.root)
        return found

    def _backbones(self) -> dict[str, Any]:
        """Which network every figure comes from, and what has to be said of FID."""
        question = self.question
        scorer = f"scorer ({self._scorer.sha256[:12]})"
        found: dict[str, Any] = {"fd": scorer, "kid": scorer, "clip": question.clip.label if question.clip else scorer}
        if question.inception is None:
            return {"backbones": found}
        found["fid"] = found["kid_inception"] = question.inception.label
        return {"backbones": found, "fid_note": few_note(len(question.captions), FEATURES)}

    def _by_clip(self, item: PictureSet, own: Judgement) -> dict[str, float]:
        """The CLIP score: by the network that was given, and then the scorer's beside it."""
        clip, scorer = self.question.clip, float(own.clip_scores.mean())
        if clip is None:
            return {"clip": scorer}
        texts = sorted(set(item.prompts))
        vectors = dict(zip(texts, clip.network.embed_texts(texts).astype(np.float64), strict=True))
        images = clip.see_set(item, self.question.root, self.crew, self.show).astype(np.float64)
        cosines = np.einsum("nd,nd->n", images, np.stack([vectors[text] for text in item.prompts]))
        return {"clip": float(cosines.mean()), "clip_scorer": scorer}

    def _by_inception(self, row: Row, target: PictureSet) -> dict[str, float]:
        network = self.question.inception
        if network is None:
            return {}
        seen = (
            network.see_set(item, self.question.root, self.crew, self.show)
            for item in (self._set(row, FIRST_SEED), target)
        )
        own, reference = seen
        kernel = kernel_distance(own, reference)
        distance = frechet_distance(reference, own, few=True)
        return {"fid": distance, "kid_inception": kernel.mean, "kid_inception_error": kernel.error}

    @cached_property
    def _scorer(self) -> Any:
        import fastdiffusers.scorer

        return fastdiffusers.scorer.load()

    def _set(self, row: Row, first: int, captions: Sequence[str] | None = None) -> PictureSet:
        question = self.question
        texts = tuple(question.captions if captions is None else captions)
        seeds = tuple(range(first, first + len(texts)))
        accel = pinned(row.accel, question.info, question.setting, question.root) if row.accel else ""
        mu = None if row.accel else row.mu
        model = str(question.info.path.resolve())
        return PictureSet(model, question.info.sha256, texts, seeds, row.steps, question.guidance, mu, accel)

    def _judged(self, item: PictureSet) -> Judgement:
        draw([item], self.question.root, self.crew, self.show)
        return judge([item], self.question.root, self.crew, show=self.show)[0]

    def _measure(self, row: Row, reference: Judgement) -> dict[str, Any]:
        item = self._set(row, FIRST_SEED)
        own = self._judged(item)
        kernel = kernel_distance(own.features, reference.features)
        paired = self._paired(item)
        return {
            "accel": row.accel or "none",
            "label": row.label,
            "steps": row.steps,
            "mu": row.mu,
            "fd": frechet_distance(reference.features, own.features),
            "fd_std": spread(reference.features, own.features),
            "kid": kernel.mean,
            "kid_error": kernel.error,
            **self._by_clip(item, own),
            **paired,
            "diversity": self._distance(row) / self._teacher_distance,
            "latency": None,
        }

    def _paired(self, item: PictureSet) -> dict[str, float | None]:
        """Mean PSNR and SSIM against the teacher's pictures of the same noise; None for these themselves."""
        own = item.load(self.question.root)[:PAIRED]
        if np.array_equal(own, self._first):
            return {"psnr": None, "ssim": None}
        pairs = list(zip(own, self._first, strict=True))
        return {
            "psnr": float(np.mean([min(psnr(a, b), 99.0) for a, b in pairs])),
            "ssim": float(np.mean([ssim(a, b) for a, b in pairs])),
        }

    @cached_property
    def _first(self) -> np.ndarray:
        item = self._set(self.rows[0], FIRST_SEED)
        draw([item], self.question.root, self.crew, self.show)
        return item.load(self.question.root)[:PAIRED]

    @cached_property
    def _teacher_distance(self) -> float:
        return self._distance(self.rows[0])

    def _distance(self, row: Row) -> float:
        """Mean distance between the pictures of one caption, over ``PROMPTS`` captions of ``SEEDS`` seeds each."""
        kinds = list(dict.fromkeys(self.question.captions))[:PROMPTS]
        item = self._set(row, DIVERSITY_SEED, [caption for caption in kinds for _ in range(SEEDS)])
        draw([item], self.question.root, self.crew, self.show)
        pictures = item.load(self.question.root)
        return float(np.mean([pairwise_distance(pictures[i : i + SEEDS]) for i in range(0, len(pictures), SEEDS)]))


def steps_of(question: Question, accel: str) -> int:
    """The steps that a composition of accelerators draws in; refusals of its plan are raised."""
    from fastdiffusers.plan import make_plan, parse
    from fastdiffusers.plugins import registry

    plan = make_plan(parse(accel), registry(), question.info, question.setting)
    try:
        plan.check()
    except PlanError as error:
        raise PlanError(f"--accel {accel}: {error}") from None
    return (plan.effective or question.setting).steps


def spread(reference: np.ndarray, features: np.ndarray) -> float:
    """Standard deviation of the distance over bootstrap samples of both sets: what chance alone moves it by."""
    rng = np.random.default_rng(0)
    values = [
        frechet_distance(
            reference[rng.integers(len(reference), size=len(reference))],
            features[rng.integers(len(features), size=len(features))],
        )
        for _ in range(BOOTSTRAP)
    ]
    return float(np.std(values))
