"""What says of an option that it trades speed for fidelity, so that `fastdiff tune` may choose it. No Paddle.

It is written into the metadata of the config's field: ``metadata={"help": …, "tunable": Tunable(0.02, 3.0)}``. An
accelerator may mark several options: the first one that means something beside the other options given is tuned.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from fastdiffusers.errors import PluginError

FINE = 1.05  # settings nearer to each other than this ratio (or share of the range) are not told apart


@dataclass(frozen=True)
class Tunable:
    """The range in which an option is worth trying.

    Attributes:
        low, high: bounds, inclusive.
        faster: ``"up"`` where larger values are faster and less faithful, ``"down"`` where smaller ones are.
        log: halve ratios instead of differences.
        quantized: factor of the option's default where the plan has an accelerator of kind quantize.
    """

    low: float
    high: float
    faster: str = "up"
    log: bool = True
    quantized: float = 1.0

    @property
    def mild(self) -> float:
        """The bound that is nearest to no acceleration."""
        return self.low if self.faster == "up" else self.high

    @property
    def strong(self) -> float:
        """The bound at the other end."""
        return self.high if self.faster == "up" else self.low

    def strength(self, value: float) -> float:
        """Grows from the mild end to the strong one."""
        return value if self.faster == "up" else -value

    def between(self, one: float, other: float, whole: bool) -> float | None:
        """A value halfway between two; None where they are as near as it is worth telling apart."""
        low, high = sorted((one, other))
        middle = math.sqrt(low * high) if self.log else (low + high) / 2
        if whole:
            value: float = round(middle)
        else:
            near = high / low < FINE if self.log else high - low < (FINE - 1) * (self.high - self.low)
            value = low if near else float(f"{middle:.3g}")
        return value if low < value < high else None

    def check(self, whole: bool) -> None:
        """Raise a one-line `PluginError` for a range that cannot be searched."""
        bounds = (self.low, self.high)
        if any(isinstance(bound, bool) or not isinstance(bound, int | float) for bound in bounds):
            raise PluginError(f"a tunable range has numbers as its bounds, got {bounds!r}")
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise PluginError(f"a tunable range goes from a lower number to a higher one, got {bounds!r}")
        if self.log and self.low <= 0:
            raise PluginError(f"a tunable range begins above 0 unless log=False, got {bounds!r}")
        if whole and any(bound != int(bound) for bound in bounds):
            raise PluginError(f"the tunable range of an integer option has integers as its bounds, got {bounds!r}")
        if self.faster not in ("up", "down"):
            raise PluginError(f"faster is 'up' or 'down', got {self.faster!r}")
        if not self.quantized > 0:
            raise PluginError(f"quantized is a factor above 0, got {self.quantized!r}")
