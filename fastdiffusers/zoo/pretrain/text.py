"""Trains the pooled text encoder: a small CLIP, contrastively, against a convolutional tower over the pictures.

Source: Radford et al. 2021, "Learning Transferable Visual Models From Natural Language Supervision", section 2.3, with
several positives a row (Khosla et al. 2020, "Supervised Contrastive Learning", eq. 2): in a batch one caption fits many
pictures. The pooled vector is the output of a layer norm whose scale stays 1, so its length is sqrt(width) without any
further normalisation, and that is how the transformer sees it, in any pipeline.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import nn

from fastdiffusers.models.clip_text import CLIPTextModel
from fastdiffusers.training.recipe import TrainerConfig, key
from fastdiffusers.training.task import ParameterGroup, Step, Task
from fastdiffusers.weights import save_layer
from fastdiffusers.zoo.emoji import Caption, default_folder
from fastdiffusers.zoo.pretrain.captions import CLIP_LENGTH, CaptionSource, build_tokenizers
from fastdiffusers.zoo.pretrain.dataset import open_pictures
from fastdiffusers.zoo.pretrain.select import muon_names

LARGEST_SCALE = 50.0


@dataclass(frozen=True)
class TextConfig(TrainerConfig):
    """Recipe keys of ``fastdiff pretrain text``."""

    data: str = key("", "folder of `fastdiff data emoji`; empty: its default place")
    core_only: bool = key(True, "only the concepts of the core list")
    size: int = key(48, "side of the pictures that the image tower sees, in pixels", min=16)
    coloured: float = key(0.5, "share of pictures on a coloured ground, half of them said", min=0.0, max=1.0)
    hidden_size: int = key(256, "width of the text encoder and of the pooled vector", min=8)
    layers: int = key(2, "blocks of the text encoder", min=1)
    heads: int = key(4, "attention heads", min=1)
    noise: float = key(0.1, "standard deviation of the noise on the pictures", min=0.0)


class ImageTower(nn.Layer):
    """Pictures ``[B, 3, size, size]`` to vectors ``[B, width]``; only needed while training."""

    def __init__(self, width: int) -> None:
        super().__init__()
        channels = (3, 32, 64, 128, width)
        pairs = list(itertools.pairwise(channels))
        self.convs = nn.LayerList([nn.Conv2D(a, b, 3, stride=2, padding=1) for a, b in pairs])
        self.norms = nn.LayerList([nn.GroupNorm(min(16, b // 4), b) for _, b in pairs])
        self.proj = nn.Linear(width, width)
        self.logit_scale = self.create_parameter([1], default_initializer=nn.initializer.Constant(math.log(14.0)))

    def forward(self, pictures: paddle.Tensor) -> paddle.Tensor:
        x = pictures
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = F.silu(norm(conv(x)))
        return self.proj(x.mean(axis=[2, 3]))


class TextTask(Task):
    """Multi-positive InfoNCE in both directions between captions and pictures."""

    Config = TextConfig
    config: TextConfig

    def build(self) -> list[ParameterGroup]:
        config = self.config
        folder = Path(config.data) if config.data else default_folder()
        self.data = open_pictures(folder, config.size, core_only=config.core_only)
        self.source = CaptionSource(self.data, config.coloured)
        self.tokenizer, self.tokenizer_2 = build_tokenizers(self.source)
        self.text = CLIPTextModel(
            CLIPTextModel.Config(
                vocab_size=self.tokenizer.backend.get_vocab_size(),
                hidden_size=config.hidden_size,
                intermediate_size=4 * config.hidden_size,
                projection_dim=config.hidden_size,
                num_hidden_layers=config.layers,
                num_attention_heads=config.heads,
                max_position_embeddings=CLIP_LENGTH,
                pad_token_id=self.tokenizer.pad_id,
                bos_token_id=self.tokenizer.backend.token_to_id("<|startoftext|>"),
                eos_token_id=self.tokenizer.backend.token_to_id("<|endoftext|>"),
            )
        )
        self.image = ImageTower(config.hidden_size)
        text = {n: p for n, p in self.text.named_parameters() if "final_layer_norm" not in n}
        for name, parameter in self.text.named_parameters():
            parameter.stop_gradient = name not in text
        parameters = {f"text.{n}": p for n, p in text.items()}
        parameters.update({f"image.{n}": p for n, p in self.image.named_parameters()})
        muon = muon_names(self.text, "embedding", "text.") | muon_names(self.image, r"convs\.0|proj", "image.")
        return [ParameterGroup("model", parameters, muon)]

    @property
    def examples(self) -> int:
        return len(self.data)

    def describe(self) -> list[str]:
        count = sum(int(np.prod(value.shape)) for value in self.text.parameters())
        concepts = len({entry["hexcode"] for entry in self.data.entries})
        return [
            f"CLIPTextModel {self.config.hidden_size} wide, {self.config.layers} layers, {count / 1e6:.2f} M parameters"
            f", vocabulary {self.text.config.vocab_size}",
            f"{len(self.data)} pictures of {concepts} concepts, {self.data.folder}",
        ]

    def batch(self, rows: np.ndarray, rng: np.random.Generator) -> tuple[paddle.Tensor, paddle.Tensor, np.ndarray]:
        captions = self.source.draw(rows, rng)
        mirrored = self.data.draw_mirrored(rows, rng)
        pictures = self.data.batch(list(rows), [caption.background for caption in captions], mirrored)
        reach = self.config.size // 16
        for i, (across, down) in enumerate(rng.integers(-reach, reach + 1, (len(rows), 2))):
            pictures[i] = np.roll(pictures[i], (int(down), int(across)), axis=(1, 2))
        pictures += self.config.noise * rng.standard_normal(pictures.shape, dtype=np.float32)
        fits = fitting(captions, [self.data.entries[int(row)] for row in rows])
        return self._ids([caption.text for caption in captions]), paddle.to_tensor(pictures), fits

    def _ids(self, texts: list[str]) -> paddle.Tensor:
        """Token ids, cut after the longest text: what follows the end token has no part in the pooled vector."""
        ids = self.tokenizer(texts).ids
        ends = (ids == self.text.config.eos_token_id).argmax(axis=1)
        return paddle.to_tensor(ids[:, : int(ends.max()) + 1])

    def step(self, batch: tuple[paddle.Tensor, paddle.Tensor, np.ndarray], index: int) -> Step:
        ids, pictures, fits = batch
        text = F.normalize(self.text(ids)[1], axis=-1)
        image = F.normalize(self.image(pictures), axis=-1)
        scale = paddle.clip(paddle.exp(self.image.logit_scale), max=LARGEST_SCALE)
        scores = paddle.matmul(text, image, transpose_y=True) * scale
        target = paddle.to_tensor(fits / fits.sum(axis=1, keepdims=True))
        back = paddle.to_tensor(fits.T / fits.T.sum(axis=1, keepdims=True))
        loss = paddle.mean(paddle.sum(-target * F.log_softmax(scores, axis=1), axis=1))
        loss = 0.5 * (loss + paddle.mean(paddle.sum(-back * F.log_softmax(scores.t(), axis=1), axis=1)))
        hits = fits[np.arange(len(fits)), scores.numpy().argmax(axis=1)].mean()
        return Step(loss, metrics={"hits": float(hits)})

    def validate(self) -> Mapping[str, float]:
        """How often the best of all white pictures for a bare label shows that concept."""
        concepts = sorted({(entry["hexcode"], entry["label"]) for entry in self.data.entries})
        with paddle.no_grad():
            text = F.normalize(self.text(self._ids([label for _, label in concepts]))[1], axis=-1)
            parts = [
                F.normalize(
                    self.image(paddle.to_tensor(self.data.batch(range(i, min(i + 64, len(self.data)))))), axis=-1
                )
                for i in range(0, len(self.data), 64)
            ]
            best = paddle.matmul(text, paddle.concat(parts), transpose_y=True).numpy().argmax(axis=1)
        hits = [self.data.entries[i]["hexcode"] == code for i, (code, _) in zip(best, concepts, strict=True)]
        return {"retrieval": float(np.mean(hits))}

    def export(self, folder: Path) -> dict[str, Any]:
        """``text_encoder/``, ``tokenizer/`` and, over the same words, ``tokenizer_2/``."""
        save_layer(self.text, folder / "text_encoder")
        self.tokenizer.save(folder / "tokenizer")
        self.tokenizer_2.save(folder / "tokenizer_2")
        return dict(self.validate())


def fitting(captions: list[Caption], entries: list[dict[str, Any]]) -> np.ndarray:
    """float32 ``[captions, pictures]``, 1 where caption i is true of picture j (drawn for caption j).

    The concept must agree, style and ground only if the caption names them.
    """
    codes = np.array([entry["hexcode"] for entry in entries])
    styles = np.array([entry["style"] for entry in entries])
    grounds = np.array([caption.background or "white" for caption in captions])
    named = np.array([caption.style_mentioned for caption in captions])
    told = np.array([caption.background_mentioned for caption in captions])
    same_style = (styles[:, None] == styles[None]) | ~named[:, None]
    same_ground = (grounds[:, None] == grounds[None]) | ~told[:, None]
    return ((codes[:, None] == codes[None]) & same_ground & same_style).astype(np.float32)
