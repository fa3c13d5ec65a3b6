"""The flags of a command with their values, read as the predecessor's parsers read them."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from fastdiffusers.distillation.imported.flag import FALSE, TRUE, Flag
from fastdiffusers.errors import InputError


class Arguments(Mapping[str, Any]):
    """Every flag's value, the predecessor's default where none was given."""

    def __init__(self, flags: Sequence[Flag], given: Mapping[str, Any]):
        self.flags = {flag.name: flag for flag in flags}
        self.given = dict(given)

    def __getitem__(self, name: str) -> Any:
        return self.given[name] if name in self.given else self.flags[name].default

    def __iter__(self) -> Any:
        return iter(self.flags)

    def __len__(self) -> int:
        return len(self.flags)


def read_arguments(words: Sequence[str], flags: Sequence[Flag]) -> Arguments:
    """Read ``--flag value``, ``--flag=value``, bare switches and unambiguous beginnings of names; the last one counts.

    Raises `InputError`: every unknown flag with the closest known one; a word that belongs to no flag; a missing or
    wrong value.
    """
    known = {flag.name: flag for flag in flags}
    opposites = {f"no_{flag.name}": flag for flag in flags if flag.kind is bool and flag.default is True}
    given: dict[str, Any] = {}
    unknown: list[str] = []
    rest = list(words)
    while rest:
        item = rest.pop(0)
        if not item.startswith("--") or item == "--":
            raise InputError(f"the word {item!r} belongs to no flag; valid is --flag value or --flag=value")
        name, equals, value = item[2:].partition("=")
        if name in opposites and not equals:
            given[opposites[name].name] = False
            continue
        flag = _found(name, known)
        if flag is None:
            unknown.append(f"--{name}{_hint(name, known)}")
            while rest and not rest[0].startswith("--"):
                rest.pop(0)
        elif equals:
            given[flag.name] = flag.read(value)
        elif flag.kind is bool:
            follows = bool(rest) and rest[0].lower() in (*TRUE, *FALSE)
            given[flag.name] = flag.read(rest.pop(0)) if follows else True
        else:
            if not rest or rest[0].startswith("--"):
                raise InputError(f"--{flag.name} has no value")
            given[flag.name] = flag.read(rest.pop(0))
            while flag.many and rest and not rest[0].startswith("--"):
                given[flag.name] = flag.read(f"{given[flag.name]} {rest.pop(0)}")
    if unknown:
        raise InputError(f"unknown flag{'s' if len(unknown) > 1 else ''} {', '.join(unknown)}; none of the script's")
    return Arguments(flags, given)


def _found(name: str, known: Mapping[str, Flag]) -> Flag | None:
    if name in known:
        return known[name]
    begins = [flag for flag in known.values() if name and flag.name.startswith(name)]
    if len(begins) > 1:
        raise InputError(f"--{name} is short for several flags; valid: --{', --'.join(flag.name for flag in begins)}")
    return begins[0] if begins else None


def _hint(name: str, known: Mapping[str, Flag]) -> str:
    close = difflib.get_close_matches(name.replace("-", "_"), list(known), n=1, cutoff=0.5)
    return f" (the closest is --{close[0]})" if close else ""
