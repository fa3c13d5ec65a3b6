"""Pictures during training: fixed prompts, Euler steps, and whether what was drawn can be recognised."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import paddle

from fastdiffusers.schedulers.flow_match_euler import flow_sigmas, uniform_sigmas
from fastdiffusers.zoo.emoji import EmojiDataset
from fastdiffusers.zoo.emoji.captions import with_article

SHIFT = 0.46
"""mu of FLUX.1-dev's rule at 36 tokens."""
WISHES = (
    ("red apple", "{}"),
    ("rocket", "{}"),
    ("fox", "{} on a blue background"),
    ("skull", "{}"),
    ("sunflower", "{}"),
    ("automobile", "{}"),
    ("red heart", "{} on a yellow background"),
    ("owl", "{}, noto style"),
    ("owl", "{}, twemoji style"),
    ("owl", "{}, fluent style"),
    ("rainbow", "{}"),
    ("key", "{} on a pink background"),
    ("hamburger", "{}"),
    ("snowman", "{} on a black background"),
    ("robot", "{}"),
    ("strawberry", "{}"),
    ("guitar", "{} on a green background"),
    ("unicorn", "{}"),
)


class Encoded(NamedTuple):
    """Prompts as the transformer takes them: T5 token ids ``[B, T]`` and pooled vectors ``[B, C]``."""

    ids: paddle.Tensor
    pooled: paddle.Tensor


def example_prompts(data: EmojiDataset) -> list[tuple[str, str]]:
    """(prompt, hexcode) of the wishes that the data set can fulfil, filled up with its other concepts."""
    codes = {entry["label"]: entry["hexcode"] for entry in data.entries}
    prompts = [(form.format(with_article(label)), codes[label]) for label, form in WISHES if label in codes]
    for prompt in bare_prompts(data, len(WISHES)):
        if len(prompts) < len(WISHES) and prompt[1] not in {code for _, code in prompts}:
            prompts.append(prompt)
    return prompts


def bare_prompts(data: EmojiDataset, count: int) -> list[tuple[str, str]]:
    """(prompt, hexcode) of ``count`` concepts, evenly from the list."""
    concepts = list({entry["hexcode"]: entry["label"] for entry in data.entries}.items())
    chosen = np.linspace(0, len(concepts) - 1, min(count, len(concepts))).round().astype(int)
    return [(with_article(concepts[i][1]), concepts[i][0]) for i in chosen]


def euler(velocity: Callable[[np.ndarray, float], np.ndarray], noise: np.ndarray, steps: int) -> np.ndarray:
    """From noise to latents along ``velocity(x, sigma)`` in ``steps`` Euler steps, spaced as FLUX.1-dev does."""
    sigmas = flow_sigmas(uniform_sigmas(steps), mu=SHIFT)
    x = noise
    for now, then in itertools.pairwise(sigmas):
        x = x + np.float32(then - now) * velocity(x, float(now))
    return x


def recognised(drawn: np.ndarray, codes: Sequence[str], latents: np.ndarray, data: EmojiDataset) -> float:
    """Share of drawn latents whose nearest training picture (any ground, mirrored or not) shows what was asked for."""
    _, pictures, grounds = latents.shape[:3]
    known = latents.reshape(2 * pictures * grounds, -1).astype(np.float32)
    flat = drawn.reshape(len(drawn), -1).astype(np.float32)
    distance = np.square(known).sum(axis=1)[None] - 2 * flat @ known.T
    nearest = distance.argmin(axis=1) // grounds % pictures
    return float(np.mean([data.entries[i]["hexcode"] == code for i, code in zip(nearest, codes, strict=True)]))
