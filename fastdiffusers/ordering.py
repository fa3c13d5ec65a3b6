"""In which order accelerators are attached: by the place of their kind, unless one says ``before`` or ``after``."""

from __future__ import annotations

from collections.abc import Sequence

from fastdiffusers.accelerator import AcceleratorSpec
from fastdiffusers.errors import PlanError


def words_of(spec: AcceleratorSpec) -> frozenset[str]:
    """The words by which others may place themselves against ``spec``: its name, kind and tags."""
    return spec.tags | {spec.name, spec.kind.value}


def order(specs: Sequence[AcceleratorSpec]) -> list[tuple[AcceleratorSpec, str]]:
    """``specs`` from the inside out, each with the reason for its position; the order they came in does not matter.

    Among those whose ``before``/``after`` wishes are met, the kind's place and then the name decide. Raises `PlanError`
    naming the wishes when they run in a circle.
    """
    wishes = _wishes(specs)
    waiting = sorted(specs, key=lambda spec: (spec.kind.place, spec.name))
    done: list[tuple[AcceleratorSpec, str]] = []
    while waiting:
        names = {spec.name for spec in waiting}
        ready = [s for s in waiting if not any(out == s.name and inn in names for inn, out in wishes)]
        if not ready:
            circle = [text for (inn, out), text in wishes.items() if inn in names and out in names]
            raise PlanError(f"no order satisfies all of: {'; '.join(circle)}")
        chosen = ready[0]
        waiting.remove(chosen)
        done.append((chosen, _reason(chosen, wishes)))
    return done


def _wishes(specs: Sequence[AcceleratorSpec]) -> dict[tuple[str, str], str]:
    """(inner name, outer name) → the wish in words."""
    wishes = {}
    for one in specs:
        for other in specs:
            if one is other:
                continue
            for word in sorted(one.before & words_of(other)):
                wishes[one.name, other.name] = f"{one.name} goes before {_as(word, other)}"
            for word in sorted(one.after & words_of(other)):
                wishes[other.name, one.name] = f"{one.name} goes after {_as(word, other)}"
    return wishes


def _as(word: str, spec: AcceleratorSpec) -> str:
    return spec.name if word == spec.name else f"{word} ({spec.name})"


def _reason(spec: AcceleratorSpec, wishes: dict[tuple[str, str], str]) -> str:
    reason = f"{spec.kind.value} has place {spec.kind.place} from the inside"
    mine = [text for pair, text in wishes.items() if spec.name in pair]
    return "; ".join([reason, *mine])
