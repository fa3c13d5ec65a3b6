"""Prompts to what a Stable Diffusion network is told: hidden states of its encoders, and a pooled vector.

Tokens are ours, which are those of transformers; ppdiffusers' SD3 stops at a prompt that is longer than its encoder.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import paddle

from fastdiffusers.models.tokenizers import TextTokenizer, Tokens


@dataclass
class Encoded:
    """``hidden`` [B, T, C]; ``pooled`` [B, C] or None; ``cut``: per prompt, by an encoder's limit, what did not fit."""

    hidden: Any
    pooled: Any = None
    cut: list[dict[str, str]] = field(default_factory=list)

    def repeated(self, copies: int) -> Encoded:
        """Each prompt ``copies`` times."""
        return Encoded(_repeat(self.hidden, copies), _repeat(self.pooled, copies), self.cut)

    def zeros(self) -> Encoded:
        """As much of nothing (SDXL without a negative prompt)."""
        return Encoded(paddle.zeros_like(self.hidden), paddle.zeros_like(self.pooled))


def clip_last(tokenizer: TextTokenizer, encoder: Any, prompts: Sequence[str]) -> Encoded:
    """CLIP's last hidden state (SD1.5)."""
    tokens = tokenizer(prompts)
    return Encoded(encoder(paddle.to_tensor(tokens.ids))[0], None, _cut("CLIP", tokens))


def clip_penultimate(tokenizer: TextTokenizer, encoder: Any, prompts: Sequence[str]) -> Encoded:
    """CLIP's last but one hidden state, and its first output: the projected text where it has a projection."""
    tokens = tokenizer(prompts)
    out = encoder(paddle.to_tensor(tokens.ids), output_hidden_states=True)
    return Encoded(out.hidden_states[-2], out[0], _cut("CLIP", tokens))


def t5_last(tokenizer: TextTokenizer, encoder: Any, prompts: Sequence[str], length: int) -> Encoded:
    """T5's last hidden state."""
    tokens = tokenizer(prompts, length)
    return Encoded(encoder(paddle.to_tensor(tokens.ids))[0], None, _cut("T5", tokens))


def notes_on(prompts: Sequence[str], encoded: Encoded) -> tuple[str, ...]:
    """What was cut off, in words."""
    return tuple(
        f"prompt {_short(prompt)!r}: {limit}, so {_short(rest)!r} was cut off"
        for prompt, cut in zip(prompts, encoded.cut, strict=True)
        for limit, rest in cut.items()
    )


def merged(*parts: Encoded) -> list[dict[str, str]]:
    """What several encoders cut off of the same prompts."""
    return [
        {name: rest for cut in cuts for name, rest in cut.items()} for cuts in zip(*(p.cut for p in parts), strict=True)
    ]


def _cut(name: str, tokens: Tokens) -> list[dict[str, str]]:
    limit = f"{name} reads {tokens.ids.shape[1]} tokens"
    return [{} if rest is None else {limit: rest} for rest in tokens.truncated]


def _repeat(tensor: Any, copies: int) -> Any:
    if tensor is None or copies == 1:
        return tensor
    rows = [i for i in range(tensor.shape[0]) for _ in range(copies)]
    return tensor.index_select(paddle.to_tensor(rows), axis=0)


def _short(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:28]} … {text[-28:]}"
