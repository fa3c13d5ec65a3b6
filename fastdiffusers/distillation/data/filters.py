"""Which samples are left out by their scores or their size. No Paddle."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from PIL import Image

from fastdiffusers.distillation.data.options import DataOptions
from fastdiffusers.distillation.data.sample import UnreadableSample

AESTHETIC = ("aesthetic_score", "aesthetic", "AESTHETIC_SCORE")
WATERMARK = ("pwatermark", "watermark", "watermark_probability")
"""Names under which data sets of LAION's kind keep the two scores."""


class Filters:
    """The limits of some options."""

    def __init__(self, options: DataOptions) -> None:
        self.min_side = options.min_side
        self.min_aesthetic = options.min_aesthetic
        self.max_watermark = options.max_watermark

    @property
    def scores(self) -> list[tuple[str, tuple[str, ...]]]:
        """Options that ask for a score, with the names that the score may have."""
        asked = (("min_aesthetic", AESTHETIC), ("max_watermark", WATERMARK))
        return [(option, names) for option, names in asked if getattr(self, option) is not None]

    def by_scores(self, metadata: Mapping[str, Any]) -> str | None:
        """The option that leaves a sample out, or None. A score that is not there fits no limit."""
        for option, names in self.scores:
            value = _score(metadata, names)
            limit = getattr(self, option)
            if value is None:
                return f"{option} (no score)"
            if value < limit if option == "min_aesthetic" else value > limit:
                return option
        return None

    def by_size(self, picture: Image.Image) -> str | None:
        """``"min_side"`` for a picture that is too small."""
        return "min_side" if min(picture.size) < self.min_side else None


def _score(metadata: Mapping[str, Any], names: tuple[str, ...]) -> float | None:
    name = next((name for name in names if metadata.get(name) not in (None, "")), None)
    if name is None:
        return None
    try:
        value = float(metadata[name])
    except (TypeError, ValueError):
        value = math.nan
    if math.isnan(value):
        raise UnreadableSample(f"{name} is {str(metadata[name])[:40]!r}, which is no number")
    return value
