"""What is reported of each accelerator that was asked for: never more than really happened."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from fastdiffusers.accelerator import Accelerator, Effect, one_line
from fastdiffusers.plan import PlanItem


@dataclass(frozen=True)
class Record:
    """One accelerator, as tables and JSON show it.

    Attributes:
        name: the accelerator.
        options: every option with its value.
        requested: it was part of the plan.
        engaged: it did something; before the first generation: it is expected to.
        source: ``"asked"`` by the user or ``"automatic"``.
        reason: why it engaged, or why not.
        effect: what it did, in words.
        stats: the same in numbers.
        fidelity: ``exact``, ``numeric`` or ``lossy``.
        measured: False as long as no generation has run and the plan's expectation is shown.
        notes: sentences about options that the plan set, such as one from a profile.
    """

    name: str
    options: Mapping[str, Any]
    requested: bool
    engaged: bool
    source: str
    reason: str
    effect: str
    stats: Mapping[str, Any] = field(default_factory=dict)
    fidelity: str = "lossy"
    measured: bool = False
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The record as JSON can hold it."""
        return asdict(self)


def expected_record(item: PlanItem) -> Record:
    """The record before anything has run: the plan's prediction, marked as such."""
    prediction = item.prediction
    effect = f"expected: {prediction.effect}" if prediction.effect else "expected, not measured"
    return _record(item, prediction.engages, prediction.reason, effect, {}, measured=False)


def measured_record(item: PlanItem, accelerator: Accelerator) -> Record:
    """The record after a generation, from the accelerator's own account of it."""
    try:
        effect = accelerator.effect()
        if not isinstance(effect, Effect):
            raise TypeError(f"effect() returned {type(effect).__name__} instead of an Effect")
    except Exception as error:
        return _record(item, False, f"NO EFFECT KNOWN: its account failed: {one_line(error)}", "unknown", {}, True)
    if not effect.engaged:
        reason = f"NO EFFECT: {effect.text or 'it gave no reason'}"
    elif item.prediction.engages:
        reason = item.prediction.reason
    else:
        reason = f"engaged although the plan expected otherwise ({item.prediction.reason})"
    return _record(item, effect.engaged, reason, effect.text, effect.stats, measured=True)


def _record(
    item: PlanItem, engaged: bool, reason: str, effect: str, stats: Mapping[str, Any], measured: bool
) -> Record:
    return Record(
        name=item.spec.name,
        options=item.options,
        requested=True,
        engaged=engaged,
        source=item.source,
        reason=reason,
        effect=effect,
        stats=dict(stats),
        fidelity=item.fidelity.value,
        measured=measured,
        notes=item.notes,
    )
