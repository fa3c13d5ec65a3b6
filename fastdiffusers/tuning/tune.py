"""Tuning in one call: search the setting of an accelerator on a loaded pipeline."""

from __future__ import annotations

import datetime
import statistics
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from fastdiffusers._version import __version__
from fastdiffusers.bench.measure import Bench
from fastdiffusers.bench.spread import NOISY, noisiest
from fastdiffusers.profiles import Profile
from fastdiffusers.tuning.search import search
from fastdiffusers.tuning.subject import Subject
from fastdiffusers.tuning.target import Target
from fastdiffusers.tuning.trial import Trial, measure_trial

TRIALS = 10


@dataclass
class Tuning:
    """What was measured. ``choice`` is None where nothing met the target, or where Ctrl-C came first."""

    subject: Subject
    target: Target
    trials: list[Trial] = field(default_factory=list)
    choice: Trial | None = None
    interrupted: bool = False

    @property
    def nearest(self) -> Trial:
        """The trial that comes nearest to the target."""
        return min(self.trials, key=self.target.shortfall)

    @property
    def uncached_latency(self) -> float:
        """Median seconds of an uncached picture over all trials."""
        return statistics.median(value for trial in self.trials for value in trial.plain_seconds)

    @property
    def noise(self) -> float:
        """How many times as long as its fastest repetition an uncached picture took at most; 1 without repetitions."""
        return noisiest([pair for trial in self.trials for pair in enumerate(trial.plain_seconds)])

    @property
    def notes(self) -> list[str]:
        """What limits what the figures say, in sentences."""
        if self.noise <= NOISY:
            return []
        return [
            f"noisy machine: the same uncached picture took up to {self.noise:.2f} times as long as its fastest "
            "repetition; the times and speed-ups are no better than that"
        ]

    def profile(self, bench: Bench, machine: dict[str, Any]) -> Profile:
        """The choice as it is kept."""
        assert self.choice is not None
        workload = bench.workload
        figures = self.choice.to_dict()
        value = figures.pop("value")
        figures["noise"] = self.noise
        more = {"guidance": workload.setting.guidance, "prompts": len(workload.prompts), "seed": workload.seed}
        made = {
            "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
            "fastdiffusers": __version__,
            **{name: machine.get(name) for name in ("cpu", "device", "threads", "paddle")},
        }
        return Profile(self.subject.key, value, {self.target.kind: self.target.value}, {**figures, **more}, made)


def tune(
    subject: Subject,
    target: Target,
    bench: Bench,
    trials: int = TRIALS,
    progress: Callable[[str], None] = lambda what: None,
) -> Tuning:
    """Search the setting of ``subject`` that meets ``target`` best, with at most so many trials and a check.

    ``bench`` holds the pipeline and the workload; ``progress(words)`` is called before each trial. Ctrl-C is not
    raised: the tuning then has ``interrupted`` true, the complete trials, and no choice.
    """
    result = Tuning(subject, target)
    plain = subject.plain()

    def measure(value: float) -> Trial:
        progress(subject.words(value))
        return measure_trial(bench, plain, subject.at(value), value)

    try:
        result.choice = search(subject.scale, subject.whole, subject.start, target, measure, trials, result.trials)
    except KeyboardInterrupt:
        result.interrupted = True
    return result
