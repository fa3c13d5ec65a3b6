"""Captions for the teacher to draw: from a file, or those that a model was trained with. No Paddle."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fastdiffusers.distillation.data.filters import Filters
from fastdiffusers.distillation.data.options import DataOptions
from fastdiffusers.distillation.data.sample import Item, Sample
from fastdiffusers.distillation.data.sources.base import Source, digest, read_text
from fastdiffusers.errors import InputError

if TYPE_CHECKING:
    from fastdiffusers.models.info import ModelInfo

ENDLESS = 4096
"""Captions that are drawn when nobody says how many."""


class PromptSource(Source):
    """A list of captions, ``seeds_per_prompt`` times each, repeated or cut to ``examples``."""

    kind = "teacher"

    def __init__(self, prompts: Sequence[str], origin: str, options: DataOptions, keys: Sequence[str] = ()) -> None:
        super().__init__(Filters(options))
        for option in ("min_side", "min_aesthetic", "max_watermark"):
            if getattr(options, option):
                raise InputError(
                    f"{option} is {getattr(options, option)}; pictures drawn by the teacher are not filtered"
                )
        each = options.seeds_per_prompt
        count = options.examples or each * len(prompts)
        self.captions = [prompts[i // each % len(prompts)] for i in range(count)]
        self._keys = [keys[i // each % len(keys)] if keys else str(i) for i in range(count)]
        self._origin = origin

    def describe(self) -> str:
        return f"{self._origin}, {len(self.captions)} captions, {len(set(self.captions))} different"

    def fingerprint(self) -> str:
        return digest(*self.captions)

    @property
    def units(self) -> int:
        return len(self.captions)

    def read_unit(self, unit: int) -> Iterator[Callable[[], Item]]:
        yield lambda: Sample(self._keys[unit], self.captions[unit])


def prompt_file(path: Path, options: DataOptions) -> PromptSource:
    """The prompts of a text file, one a line; blank lines and those that begin with # are left out."""
    lines = [(i, line.strip()) for i, line in enumerate(read_text(path, "prompts").splitlines(), 1)]
    kept = [(i, line) for i, line in lines if line and not line.startswith("#")]
    if not kept:
        raise InputError(f"{str(path)!r} holds no prompt")
    keys = [f"{path.name}:{i}" for i, _ in kept]
    return PromptSource([line for _, line in kept], repr(str(path)), options, keys)


def own_captions(info: ModelInfo, options: DataOptions) -> PromptSource:
    """Captions as ``info``'s model met them in training; for a model that only names prompts, these."""
    card = info.card
    if card.get("concepts"):
        from fastdiffusers.zoo.emoji.trained import draw_captions

        coloured = card.get("made", {}).get("flux", {}).get("recipe", {}).get("coloured", 0.5)
        count = -(-(options.examples or ENDLESS) // options.seeds_per_prompt)
        captions = draw_captions(count, options.seed, card["concepts"], coloured)
        return PromptSource(captions, f"captions of {info.name}'s training", options)
    if card.get("prompts"):
        return PromptSource(card["prompts"], f"the prompts of {info.name}", options)
    raise InputError(
        f"model {info.name!r} brings no captions; name a file of prompts (prompts=FILE) or pictures (data=PATH)"
    )
