"""Is the input of the stack calm enough for whole steps to be forecast? (TeaBlockCache's Taylor option)"""

from __future__ import annotations

from typing import Any

from fastdiffusers.caching.indicators import Indicator, Moment, relative_change


class Calm(Indicator):
    """Due until the probe has changed by less than ``threshold`` in ``times`` steps in a row."""

    def __init__(self, threshold: float, times: int) -> None:
        self.threshold = threshold
        self.times = times
        self.calm = 0
        self.before: Any = None

    def due(self, moment: Moment) -> bool:
        self.distance = relative_change(moment.tokens.probe(), self.before, moment.ranks)
        self.calm = self.calm + 1 if self.distance < self.threshold else 0
        return self.calm < self.times

    def note(self, moment: Moment, computed: bool) -> None:
        self.before = moment.tokens.probe()

    def held(self) -> list[Any]:
        return [] if self.before is None else [self.before]
