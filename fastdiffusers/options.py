"""Options of an accelerator: typed by its config dataclass, with one reader for command line, YAML and Python.

A string is read as the field's type; a value that already has a type must have the right one. Whatever does not fit is
a one-line `PlanError`; nothing is guessed and nothing unknown is dropped.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import numbers
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from fastdiffusers.accelerator import one_line
from fastdiffusers.errors import PlanError, PluginError, UserError
from fastdiffusers.tunable import Tunable

_WORDS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
_NOUNS = {bool: "true or false", int: "an integer", float: "a number", str: "text", Path: "a path"}


@dataclass(frozen=True)
class Option:
    """One field of a config dataclass; ``type`` is bool, int, float, str, Path or an Enum; ``many``: a tuple of it."""

    name: str
    type: type
    default: Any
    help: str = ""
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[Any, ...] = ()
    optional: bool = False
    many: bool = False
    tunable: Tunable | None = None

    @property
    def expects(self) -> str:
        """The valid values in words: ``a number ≥ 0``, ``one of: eager, static``."""
        if self.choices:
            text = "one of: " + ", ".join(_plain(choice) for choice in self.choices)
        else:
            text = _NOUNS[self.type]
            if self.minimum is not None and self.maximum is not None:
                text += f" from {self.minimum:g} to {self.maximum:g}"
            elif self.minimum is not None:
                text += f" ≥ {self.minimum:g}"
            elif self.maximum is not None:
                text += f" ≤ {self.maximum:g}"
        if self.many:
            text = f"a list (a/b/c), each {text}"
        return text + (", or none" if self.optional else "")

    def read(self, value: Any) -> Any:
        """``value`` in the type of this option; a ValueError with no text when it does not fit."""
        if self.optional and (value is None or (isinstance(value, str) and value.lower() in ("none", "null"))):
            return None
        if not self.many:
            return self._read_one(value)
        if isinstance(value, str):
            value = value.split("/")
        if not isinstance(value, list | tuple):
            raise ValueError
        return tuple(self._read_one(item) for item in value)

    def _read_one(self, value: Any) -> Any:
        result = _READERS[self.type](value) if self.type in _READERS else _read_enum(self.type, value)
        if self.choices and result not in self.choices:
            raise ValueError
        if self.minimum is not None and not result >= self.minimum:
            raise ValueError
        if self.maximum is not None and not result <= self.maximum:
            raise ValueError
        return result


def options_of(config: type) -> dict[str, Option]:
    """The options that a config dataclass declares, in order. Raises `PluginError` when its fields are no options."""
    if not (isinstance(config, type) and dataclasses.is_dataclass(config)):
        raise PluginError(f"config must be a dataclass, got {config!r}")
    try:
        hints = typing.get_type_hints(config)
    except Exception as error:
        raise PluginError(f"the types of {config.__name__} cannot be resolved: {one_line(error)}") from error
    return {f.name: _option(config, f, hints[f.name]) for f in dataclasses.fields(config) if f.init}


def build_config(owner: str, config: type, given: Mapping[str, Any]) -> Any:
    """A ``config`` with the options in ``given`` read and the others at their defaults.

    ``owner`` is the accelerator's name for the messages. Raises `PlanError`: unknown option, value that does not fit.
    """
    options = options_of(config)
    values = {}
    for name, value in given.items():
        if name not in options:
            raise PlanError(_no_such_option(owner, str(name), list(options)))
        try:
            values[name] = options[name].read(value)
        except (ValueError, TypeError, OverflowError):
            raise PlanError(f"{owner}: {name} must be {options[name].expects}, got {_shown(value)}") from None
    try:
        return config(**values)
    except UserError as error:
        raise PlanError(f"{owner}: {error}") from error
    except Exception as error:
        raise PlanError(f"{owner}: {' '.join(str(error).split()) or type(error).__name__}") from error


def plain_options(config: Any) -> dict[str, Any]:
    """The values of a config object as JSON and YAML can hold them; `build_config` reads them back."""
    return {name: _jsonable(getattr(config, name)) for name in options_of(type(config))}


def did_you_mean(word: str, valid: list[str]) -> str:
    """``" (did you mean 'x'?)"`` when something valid is close to ``word``, else nothing."""
    close = difflib.get_close_matches(word, valid, n=1, cutoff=0.6)
    return f" (did you mean {close[0]!r}?)" if close else ""


def _no_such_option(owner: str, name: str, valid: list[str]) -> str:
    if not valid:
        return f"{owner} has no option `{name}`; it has none"
    return f"{owner} has no option `{name}`{did_you_mean(name, valid)}; it has: {', '.join(valid)}"


def _option(config: type, field: dataclasses.Field[Any], hint: Any) -> Option:
    where = f"option {field.name!r} of {config.__name__}"
    if field.default is not dataclasses.MISSING:
        default = field.default
    elif field.default_factory is not dataclasses.MISSING:
        default = field.default_factory()
    else:
        raise PluginError(f"{where} has no default")
    optional = many = False
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        inner = [arm for arm in typing.get_args(hint) if arm is not type(None)]
        optional = len(inner) < len(typing.get_args(hint))
        hint = inner[0] if len(inner) == 1 else None
    if typing.get_origin(hint) is tuple:
        arms = typing.get_args(hint)
        many = len(arms) == 2 and arms[1] is Ellipsis
        hint = arms[0] if many else None
    is_enum = isinstance(hint, type) and issubclass(hint, Enum)
    if not is_enum and hint not in _READERS:
        raise PluginError(
            f"{where} has an unsupported type; valid: bool, int, float, str, Path, an Enum, X | None, tuple"
        )
    choices = tuple(hint) if is_enum else tuple(field.metadata.get("choices", ()))
    return Option(
        name=field.name,
        type=hint,
        default=default,
        help=str(field.metadata.get("help", "")),
        minimum=field.metadata.get("min"),
        maximum=field.metadata.get("max"),
        choices=choices,
        optional=optional,
        many=many,
        tunable=_tunable(where, field.metadata.get("tunable"), hint, many),
    )


def _tunable(where: str, tunable: Any, kind: type, many: bool) -> Tunable | None:
    if tunable is None:
        return None
    if not isinstance(tunable, Tunable) or kind not in (int, float) or many:
        raise PluginError(f"{where}: 'tunable' is a Tunable, on an option that is one number")
    try:
        tunable.check(kind is int)
    except PluginError as error:
        raise PluginError(f"{where}: {error}") from None
    return tunable


def _read_bool(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in _WORDS:
        return _WORDS[value.lower()]
    raise ValueError


def _read_int(value: Any) -> int:
    if isinstance(value, str) and "_" not in value:
        return int(value)
    if isinstance(value, numbers.Integral) and not isinstance(value, bool):
        return int(value)
    raise ValueError


def _read_float(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, str | numbers.Real) or "_" in str(value):
        raise ValueError
    result = float(value)
    if not math.isfinite(result):
        raise ValueError
    return result


def _read_str(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError
    return value


def _read_path(value: Any) -> Path:
    if not isinstance(value, str | Path) or not str(value):
        raise ValueError
    return Path(value)


def _read_enum(kind: type, value: Any) -> Any:
    for member in kind:  # type: ignore[attr-defined]
        if value is member or value == member.value or (isinstance(value, str) and value == str(member.value)):
            return member
    raise ValueError


_READERS: dict[type, Any] = {bool: _read_bool, int: _read_int, float: _read_float, str: _read_str, Path: _read_path}


def _plain(value: Any) -> str:
    return str(value.value if isinstance(value, Enum) else value)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _jsonable(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Path):
        return str(value)
    return [_jsonable(item) for item in value] if isinstance(value, tuple) else value
