"""A flag of the predecessor's scripts, and what becomes of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from typing import Any

from fastdiffusers.errors import InputError

TRUE = ("true", "yes", "on", "1", "y", "t")
FALSE = ("false", "no", "off", "0", "n", "f")


class Fate(str, Enum):
    """The four ends of a flag."""

    MAPPED = "mapped"  # became recipe keys
    WORD = "command line"  # became a word of `fastdiff distill`
    DROPPED = "dropped"  # has no effect on the result, or never had one
    REFUSED = "refused"  # would change the result and has no counterpart


@dataclass(frozen=True)
class Flag:
    """One flag: how the predecessor reads it, and what becomes of it.

    ``becomes``: the recipe keys, or the words of our command line. ``direct``: the value goes to the one key unchanged;
    otherwise the script's translation computes it. ``always``: the key is written even when the flag was not given,
    since the predecessor's default decides the result. ``only``: values of a refused flag that need no counterpart.
    ``secret``: the value is never shown.
    """

    name: str
    kind: type
    default: Any
    fate: Fate
    becomes: str = ""
    note: str = ""
    direct: bool = False
    always: bool = True
    only: tuple[Any, ...] = ()
    choices: tuple[Any, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    many: bool = False
    secret: bool = False

    def read(self, text: str) -> Any:
        """The value that ``text`` stands for; `InputError` names the flag, the value and what is valid."""
        try:
            value = _READERS[self.kind](text)
        except ValueError:
            raise InputError(f"--{self.name} is {text!r}; valid is {_NOUNS[self.kind]}") from None
        if self.choices and value not in self.choices:
            raise InputError(f"--{self.name} is {text!r}; valid: {', '.join(map(str, self.choices))}")
        if self.minimum is not None and value < self.minimum:
            raise InputError(f"--{self.name} is {text!r}; valid is at least {self.minimum:g}")
        if self.maximum is not None and value > self.maximum:
            raise InputError(f"--{self.name} is {text!r}; valid is at most {self.maximum:g}")
        return value


def mapped(name: str, kind: type, default: Any, key: str, note: str = "", **more: Any) -> Flag:
    """A flag whose value is the value of one recipe key."""
    return Flag(name, kind, default, Fate.MAPPED, key, note, direct=True, **more)


def computed(name: str, kind: type, default: Any, keys: str, note: str, **more: Any) -> Flag:
    """A flag that a script's translation turns into recipe keys."""
    return Flag(name, kind, default, Fate.MAPPED, keys, note, **more)


def word(name: str, kind: type, default: Any, becomes: str, note: str, **more: Any) -> Flag:
    """A flag that a script's translation turns into words of our command line."""
    return Flag(name, kind, default, Fate.WORD, becomes, note, **more)


def dropped(name: str, kind: type, default: Any, reason: str, **more: Any) -> Flag:
    """A flag that nothing here needs."""
    return Flag(name, kind, default, Fate.DROPPED, "", reason, **more)


def refused(name: str, kind: type, default: Any, reason: str, **more: Any) -> Flag:
    """A flag that changes the result and has no counterpart, except with the values in ``only``."""
    return Flag(name, kind, default, Fate.REFUSED, "", reason, **more)


def read_bool(text: str) -> bool:
    """True or false in the words of the predecessor's parsers; a ValueError for any other."""
    if text.lower() in TRUE:
        return True
    if text.lower() in FALSE:
        return False
    raise ValueError


def _read_int(text: str) -> int:
    if "_" in text:
        raise ValueError
    return int(text)


def _read_float(text: str) -> float:
    value = float(text)
    if "_" in text or not math.isfinite(value):
        raise ValueError
    return value


def _read_str(text: str) -> str:
    if not text:
        raise ValueError
    return text


_READERS: dict[type, Any] = {bool: read_bool, int: _read_int, float: _read_float, str: _read_str}
_NOUNS = {bool: "true or false", int: "a whole number", float: "a finite number", str: "text that is not empty"}
