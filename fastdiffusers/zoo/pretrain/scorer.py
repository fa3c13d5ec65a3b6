"""Trains the scorer: pictures and captions contrastively, on a split of its own.

It learns all core concepts, the generator's held-out ones too, on every background, also those that the generator
never sees with them: what is not known cannot be judged. Of one concept in 8/3 it never sees one style, one picture in
eight; on these its own skill is measured.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import paddle
import paddle.nn.functional as F

from fastdiffusers.metrics import retrieval
from fastdiffusers.scorer.network import ScorerNetwork
from fastdiffusers.scorer.words import UNKNOWN, Words, padded, word_list
from fastdiffusers.training.recipe import TrainerConfig, key
from fastdiffusers.training.task import ParameterGroup, Step, Task
from fastdiffusers.weights import save_layer
from fastdiffusers.zoo.emoji import PALETTE, Caption, CaptionSampler, default_folder
from fastdiffusers.zoo.emoji.captions import STYLES, background_colour
from fastdiffusers.zoo.pretrain.dataset import open_pictures
from fastdiffusers.zoo.pretrain.pictures import to_uint8
from fastdiffusers.zoo.pretrain.scorer_card import write_readme
from fastdiffusers.zoo.pretrain.scorer_views import views
from fastdiffusers.zoo.pretrain.select import muon_names
from fastdiffusers.zoo.pretrain.text import fitting

HELD_BACK_PART = 8
KEPT_WORDS = (*PALETTE, "white", *STYLES)
"""Never made unknown: without them another caption would be true."""
OUTER = r"image\.stem|proj|text\.weight|features_"
CHOICES = 100
FEATURE_DRAWS = 8


@dataclass(frozen=True)
class ScorerTaskConfig(TrainerConfig):
    """Recipe keys of ``fastdiff pretrain scorer``."""

    data: str = key("", "folder of `fastdiff data emoji`; empty: its default place")
    core_only: bool = key(True, "only the concepts of the core list")
    size: int = key(64, "side of the pictures that the image tower sees, a multiple of 16", min=16)
    channels: tuple[int, ...] = key((24, 48, 96, 192), "channels of the image tower, multiples of 8", min=8)
    hidden_size: int = key(256, "width of the penultimate image features", min=8)
    embedding_size: int = key(128, "width of the common space", min=8)
    features: int = key(64, "principal axes of the penultimate features that are kept", min=1)
    coloured: float = key(0.6, "share of pictures on a coloured ground, half of them said", min=0.0, max=1.0)
    twins: float = key(
        0.375,
        "share of a batch that shows a concept of the batch once more, otherwise and saying how",
        min=0.0,
        max=0.5,
    )
    word_dropout: float = key(0.04, "share of words made unknown", min=0.0, max=1.0)
    strange_words: float = key(0.15, "share of captions into which an unknown word is put", min=0.0, max=1.0)


def held_back_style(hexcode: str) -> str | None:
    """The style in which the scorer never sees a concept: one picture in eight, at most one of a concept."""
    number = int.from_bytes(hashlib.sha256(f"scorer {hexcode.upper()}".encode("ascii")).digest()[:8], "big")
    chosen, style = divmod(number % (HELD_BACK_PART * len(STYLES)), len(STYLES))
    return STYLES[style] if chosen < len(STYLES) else None


class ScorerTask(Task):
    """Multi-positive InfoNCE in both directions, as the text stage's, over other networks, views and captions."""

    Config = ScorerTaskConfig
    config: ScorerTaskConfig

    def build(self) -> list[ParameterGroup]:
        config = self.config
        folder = Path(config.data) if config.data else default_folder()
        self.data = open_pictures(folder, config.size, "all", core_only=config.core_only)
        back = [entry["style"] == held_back_style(entry["hexcode"]) for entry in self.data.entries]
        self.rows, self.held_back = np.flatnonzero(~np.array(back)), np.flatnonzero(back)
        self.of_concept: dict[str, list[int]] = defaultdict(list)
        for row in self.rows:
            self.of_concept[self.data.entries[row]["hexcode"]].append(int(row))
        mode, every = "varied", {"all_pairs": True}
        self.sampler = CaptionSampler(
            mode,
            self.data.index,
            style_probability=0.3,
            background_probability=config.coloured,
            mention_probability=0.5,
            white_probability=0.3,
            **every,
        )
        self.telling = CaptionSampler(
            mode,
            self.data.index,
            style_probability=0.65,
            background_probability=0.85,
            mention_probability=0.85,
            white_probability=0.7,
            **every,
        )
        known = word_list(self._texts())
        self.words = Words(known)
        self._kept = {self.words.numbers(word)[0] for word in KEPT_WORDS} - {UNKNOWN}
        self.network = ScorerNetwork(
            ScorerNetwork.Config(
                image_size=config.size,
                channels=config.channels,
                hidden_size=config.hidden_size,
                embedding_size=config.embedding_size,
                features=config.features,
                words=known,
            )
        )
        parameters = {name: value for name, value in self.network.named_parameters() if not value.stop_gradient}
        return [ParameterGroup("model", parameters, muon_names(self.network, OUTER))]

    def _texts(self) -> list[str]:
        """Texts that hold every word which a caption of the training can hold."""
        rng = np.random.default_rng(0)
        entries = [self.data.entries[row] for row in self.rows]
        texts = [self.telling.sample(rng, entry).text for entry in entries for _ in range(8)]
        for entry in entries:
            texts += [entry["label"], *entry["aliases"], *self.telling.telling_tags(entry), entry["style"]]
        return texts

    @property
    def examples(self) -> int:
        return len(self.rows)

    def describe(self) -> list[str]:
        count = sum(int(np.prod(value.shape)) for value in self.network.parameters())
        return [
            f"ScorerNetwork {'-'.join(map(str, self.config.channels))}, {count / 1e6:.2f} M parameters, "
            f"{len(self.network.config.words)} words",
            f"{len(self.rows)} pictures of {len(self.of_concept)} concepts, {len(self.held_back)} held back, "
            f"{self.data.folder}",
        ]

    def batch(self, rows: np.ndarray, rng: np.random.Generator) -> tuple[paddle.Tensor, paddle.Tensor, np.ndarray]:
        chosen = [int(self.rows[row]) for row in rows]
        first = len(chosen) - int(self.config.twins * len(chosen))
        for i in range(first, len(chosen)):
            siblings = self.of_concept[self.data.entries[chosen[i - first]]["hexcode"]]
            others = [row for row in siblings if row != chosen[i - first]]
            if others and rng.random() < 0.75:  # the others differ by their ground alone
                chosen[i] = others[rng.integers(len(others))]
            else:
                chosen[i] = chosen[i - first]
        entries = [self.data.entries[row] for row in chosen]
        captions = [(self.sampler if i < first else self.telling).sample(rng, entry) for i, entry in enumerate(entries)]
        pictures = to_uint8(self._pictures(chosen, captions, rng))
        seen = views(pictures, [background_colour(caption.background) for caption in captions], rng)
        ids = padded([self._disturbed(self.words.numbers(caption.text), rng) for caption in captions])
        return paddle.to_tensor(ids), paddle.to_tensor(seen), fitting(captions, entries)

    def _pictures(self, rows: Sequence[int], captions: Sequence[Caption], rng: np.random.Generator) -> np.ndarray:
        grounds = [caption.background for caption in captions]
        return self.data.batch(list(rows), grounds, self.data.draw_mirrored(rows, rng))

    def _disturbed(self, numbers: list[int], rng: np.random.Generator) -> list[int]:
        """A caption in which now and then a word is not known, or an unknown one too many."""
        if len(numbers) > 2:
            drop = rng.random(len(numbers)) < self.config.word_dropout
            numbers = [
                UNKNOWN if gone and number not in self._kept else number
                for number, gone in zip(numbers, drop, strict=True)
            ]
        if rng.random() < self.config.strange_words:
            numbers.insert(int(rng.integers(len(numbers) + 1)), UNKNOWN)
        return numbers

    def step(self, batch: tuple[paddle.Tensor, paddle.Tensor, np.ndarray], index: int) -> Step:
        ids, pictures, fits = batch
        text = F.normalize(self.network.text(ids), axis=-1)
        image = F.normalize(self.network.image(pictures)[1], axis=-1)
        scores = paddle.matmul(text, image, transpose_y=True) * self.network.scale()
        target = paddle.to_tensor(fits / fits.sum(axis=1, keepdims=True))
        back = paddle.to_tensor(fits.T / fits.T.sum(axis=1, keepdims=True))
        loss = paddle.mean(paddle.sum(-target * F.log_softmax(scores, axis=1), axis=1))
        loss = 0.5 * (loss + paddle.mean(paddle.sum(-back * F.log_softmax(scores.t(), axis=1), axis=1)))
        hits = fits[np.arange(len(fits)), scores.numpy().argmax(axis=1)].mean()
        return Step(loss, metrics={"hits": float(hits), "scale": float(self.network.scale().item())})

    def validate(self) -> Mapping[str, float]:
        """Retrieval among 100 captions of other concepts, on trained and on held-back pictures; grounds and styles.

        One plain rendering a concept, with the training's captions and grounds. ``ground`` and ``style``: how often the
        right colour (of 9) or style (of 3) wins among captions that differ in nothing else.
        """
        rng = np.random.default_rng(1)
        trained = [rows[rng.integers(len(rows))] for rows in self.of_concept.values()]
        figures = {"retrieval": self._retrieval(trained, rng)}
        figures["held_back_retrieval"] = self._retrieval([int(row) for row in self.held_back], rng)
        grounds, styles = (None, *PALETTE), sorted({entry["style"] for entry in self.data.entries})
        some = trained[:: max(1, len(trained) // 128)]
        right = [int(rng.integers(len(grounds))) for _ in some]
        told = {name: f" on a {name or 'white'} background" for name in grounds}
        figures["ground"] = self._best(some, [grounds[i] for i in right], [told[name] for name in grounds], right)
        right = [styles.index(self.data.entries[row]["style"]) for row in some]
        figures["style"] = self._best(some, [None] * len(some), [f", {style} style" for style in styles], right)
        return figures

    def _retrieval(self, rows: list[int], rng: np.random.Generator) -> float:
        captions = [self.sampler.sample(rng, self.data.entries[row]) for row in rows]
        texts = [caption.text for caption in captions]
        choices = min(CHOICES, len(set(texts)))
        if choices < 2:
            return float("nan")
        image, _ = self._see(self._pictures(rows, captions, rng))
        return retrieval(image, self._read(texts), texts, choices=choices)

    def _best(self, rows: list[int], grounds: list[str | None], endings: list[str], right: list[int]) -> float:
        image, _ = self._see(self.data.batch(rows, grounds))
        texts = [self.data.entries[row]["label"] + ending for row in rows for ending in endings]
        text = self._read(texts).reshape(len(rows), len(endings), -1)
        return float(np.mean(np.einsum("nd,ned->ne", image, text).argmax(axis=1) == right))

    def _see(self, pictures: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Unit embeddings and penultimate features of pictures in [-1, 1]."""
        with paddle.no_grad():
            parts = [self.network.image(paddle.to_tensor(pictures[i : i + 64])) for i in range(0, len(pictures), 64)]
            embeddings = F.normalize(paddle.concat([embedding for _, embedding in parts]), axis=-1)
            return embeddings.numpy(), paddle.concat([hidden for hidden, _ in parts]).numpy()

    def _read(self, texts: list[str]) -> np.ndarray:
        with paddle.no_grad():
            ids = paddle.to_tensor(padded([self.words.numbers(text) for text in texts]))
            return F.normalize(self.network.text(ids), axis=-1).numpy()

    def fit_features(self) -> float:
        """Set the principal axes of the penultimate features of real renderings; returns their share of the variance.

        Pictures of the whole core list, each drawn eight times with the data's grounds and mirror images. The axes are
        divided by one number, so that the variances along them add up to 1.
        """
        rng = np.random.default_rng(2)
        parts = []
        for _ in range(FEATURE_DRAWS):
            rows = range(len(self.data))
            captions = [self.sampler.sample(rng, self.data.entries[row]) for row in rows]
            parts.append(self._see(self._pictures(rows, captions, rng))[1])
        hidden = np.concatenate(parts).astype(np.float64)
        mean = hidden.mean(axis=0)
        variances, axes = np.linalg.eigh(np.cov(hidden.T))
        kept = variances[::-1][: self.config.features]
        basis = axes[:, ::-1][:, : self.config.features] / np.sqrt(kept.sum())
        basis *= np.sign(basis[np.abs(basis).argmax(axis=0), np.arange(basis.shape[1])])
        with paddle.no_grad():
            self.network.features_mean.set_value(mean.astype(np.float32))
            self.network.features_basis.set_value(basis.astype(np.float32))
        return float(kept.sum() / variances.sum())

    def export(self, folder: Path) -> dict[str, Any]:
        """``scorer/`` in half precision, with its README."""
        figures = {**self.validate(), "features_variance": self.fit_features()}
        save_layer(self.network, folder / "scorer", "float16", weights_name=self.network.WEIGHTS_NAME)
        for file in (folder / "scorer").glob("*.safetensors"):
            file.chmod(0o644)  # safetensors makes files that only their owner may read
        write_readme(folder / "scorer", self.config, self.network.config, self.data, len(self.held_back), figures)
        return figures
