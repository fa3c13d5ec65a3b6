"""Which of the installed accelerators go together: every pair and triple, decided by the plan alone. No Paddle.

What is decided for hundreds of combinations is told in few lines: accelerators that hold the same claim are named once
(`Composition.shared`), the other pairs are gathered in rows, and triples are told only where they surprise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

from fastdiffusers.accelerator import Setting
from fastdiffusers.errors import PlanError
from fastdiffusers.plan import CLAIM, CONFLICT, Plan, Refusal, make_plan
from fastdiffusers.request import trial_request

if TYPE_CHECKING:
    from fastdiffusers.accelerator import AcceleratorSpec
    from fastdiffusers.models.info import ModelInfo
    from fastdiffusers.plugins import Registry

ORDER = "order"


@dataclass(frozen=True)
class Combination:
    """Accelerators asked for at once: the plan from the inside out, or why they are refused.

    ``names`` follow the plan where it stands, and otherwise the kinds' places and the alphabet.
    """

    names: tuple[str, ...]
    plan: Plan | None
    refusal: Refusal | None = None

    @property
    def goes(self) -> bool:
        """Whether all of them can be attached together."""
        return self.refusal is None

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        refused = {} if self.refusal is None else {"reason": self.refusal.reason, "cause": self.refusal.cause}
        return {"accelerators": list(self.names), "goes": self.goes, **refused}


@dataclass(frozen=True)
class Row:
    """Pairs of which the same can be said: any of ``ones`` with any of ``others``.

    ``refusal`` is None where they go together; what it says holds for each of them, so it names none.
    """

    ones: tuple[str, ...]
    others: tuple[str, ...]
    refusal: Refusal | None = None


class Composition:
    """What goes together on one model at one setting.

    Attributes:
        alone: one combination for each accelerator by itself.
        together: every pair, then every triple.
    """

    def __init__(self, registry: Registry, info: ModelInfo, setting: Setting, sizes: Sequence[int] = (2, 3)) -> None:
        specs = sorted(registry.accelerators.values(), key=lambda spec: (spec.kind.place, spec.name))
        self.specs = {spec.name: spec for spec in specs}
        self.info = info
        self.setting = setting
        self.alone = [_combine([spec], registry, info, setting) for spec in specs]
        chosen = [some for size in sizes for some in combinations(specs, size)]
        self.together = [_combine(some, registry, info, setting) for some in chosen]
        self._by_names = {frozenset(found.names): found for found in [*self.alone, *self.together]}

    def of(self, *names: str) -> Combination:
        """The combination of these accelerators, in any order."""
        return self._by_names[frozenset(names)]

    def shared(self) -> dict[tuple[str, ...], tuple[str, ...]]:
        """Claims that several accelerators hold → those accelerators, of which only one can be had at a time."""
        claims = sorted({claim for spec in self.specs.values() for claim in spec.claims})
        holders: dict[tuple[str, ...], list[str]] = {}
        for claim in claims:
            names = tuple(sorted(name for name, spec in self.specs.items() if claim in spec.claims))
            if len(names) > 1:
                holders.setdefault(names, []).append(claim)
        return {tuple(claims): names for names, claims in holders.items()}

    def rows(self) -> list[Row]:
        """All pairs, in few rows: those that go, then those that are refused.

        Left out is what `shared` and `alone` tell already.
        """
        others: dict[tuple[str, Refusal | None], list[str]] = {}
        for pair in self.together:
            if len(pair.names) == 2 and (pair.goes or not self._told(pair)):
                one, other = sorted(pair.names, key=self._rank)
                others.setdefault((one, _general(pair.refusal)), []).append(other)
        ones: dict[tuple[tuple[str, ...], Refusal | None], list[str]] = {}
        for (one, refusal), names in sorted(others.items(), key=lambda entry: self._rank(entry[0][0])):
            ones.setdefault((tuple(sorted(names, key=self._rank)), refusal), []).append(one)
        rows = [Row(tuple(names), with_these, refusal) for (with_these, refusal), names in ones.items()]
        return sorted(rows, key=lambda row: row.refusal is not None)

    def exceptions(self) -> list[Combination]:
        """The triples that do not follow from their pairs: refused although each pair goes, or the other way round."""
        found = []
        for triple in self.together:
            if len(triple.names) == 3:
                pairs = [self.of(*pair) for pair in combinations(triple.names, 2)]
                if triple.goes != all(pair.goes for pair in pairs):
                    found.append(triple)
        return found

    def _told(self, pair: Combination) -> bool:
        claimed = pair.refusal is not None and pair.refusal.cause.startswith(f"{CLAIM} ")
        return claimed or not all(self.of(name).goes for name in pair.names)

    def _rank(self, name: str) -> tuple[int, list[str], str]:
        """Where a name stands in a row: by kind, and those beside each other that the same is true of."""
        spec = self.specs[name]
        return (spec.kind.place, sorted(spec.claims), name)


def _general(refusal: Refusal | None) -> Refusal | None:
    """A refusal as it would read for others of which the same can be said."""
    if refusal is None:
        return None
    if refusal.cause.partition(" ")[0] in (CLAIM, CONFLICT):  # the reason names names
        return Refusal("", "", refusal.cause)
    return Refusal("", refusal.reason.removeprefix(f"{refusal.name} "), refusal.cause)


def _combine(specs: Sequence[AcceleratorSpec], registry: Registry, info: ModelInfo, setting: Setting) -> Combination:
    names = tuple(spec.name for spec in specs)
    try:
        plan = make_plan([trial_request(spec) for spec in specs], registry, info, setting)
    except PlanError as error:  # wishes for an order that contradict each other
        return Combination(names, None, Refusal(names[-1], str(error), ORDER))
    if plan.refusals:
        return Combination(names, plan, plan.refusals[0])
    return Combination(tuple(item.spec.name for item in plan.items), plan)
