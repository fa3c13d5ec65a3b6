"""Recipes: a dataclass per task, filled from YAML and from ``key=value`` words; unknown keys are errors."""

from __future__ import annotations

import contextlib
import math
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

import yaml

from fastdiffusers.errors import InputError, one_of

C = TypeVar("C", bound="TrainerConfig")
SCHEDULES = ("constant", "linear", "cosine")
TRACKERS = ("none", "visualdl")


def key(default: Any, help: str, **limits: Any) -> Any:
    """A recipe key: its default, its meaning, and its limits (``min``, ``max``, ``choices``)."""
    return field(default=default, metadata={"help": help, **limits})


@dataclass(frozen=True)
class TrainerConfig:
    """Keys that every recipe has."""

    steps: int = key(1000, "optimiser steps", min=1)
    batch: int = key(32, "examples of a batch, over all workers", min=1)
    seed: int = key(0, "seed of weights, data order and noise", min=0)
    workers: int = key(1, "processes of this machine that share each batch", min=1, max=256)
    lr: float = key(2e-3, "learning rate of Muon and AdamW alike", min=0.0)
    warmup_steps: int = key(100, "steps of linear warm-up", min=0)
    schedule: str = key("linear", "form of the final decay", choices=SCHEDULES)
    decay_fraction: float = key(
        0.2, "last part of the steps in which the learning rate falls to zero", min=0.0, max=1.0
    )
    weight_decay: float = key(0.0, "decoupled weight decay of matrices and convolutions", min=0.0)
    muon: bool = key(True, "Muon on hidden matrices and convolutions; false: AdamW everywhere")
    clip: float = key(1.0, "largest norm of the gradient; 0 switches clipping off", min=0.0)
    accumulation: int = key(1, "batches whose gradients make one step", min=1)
    adam_beta1: float = key(0.9, "β1 of AdamW", min=0.0, max=0.999999)
    adam_beta2: float = key(0.99, "β2 of AdamW", min=0.0, max=0.999999)
    adam_epsilon: float = key(1e-8, "ε of AdamW", min=0.0)
    loss_scale: float = key(1.0, "factor on the loss before the backward pass, taken out of the gradient", min=1.0)
    ema: float = key(0.998, "decay of the moving average of the weights; 0 keeps the last weights", min=0.0, max=1.0)
    max_bad_steps: int = key(10, "stop after this many steps in a row without a finite loss and gradient", min=1)
    checkpoint_every: int = key(500, "steps between checkpoints", min=1)
    keep_checkpoints: int = key(2, "checkpoints kept", min=1)
    sample_every: int = key(500, "steps between picture grids and validation; 0: only at the end", min=0)
    best_by: str = key("", "validation figure whose least value decides which weights are kept; empty: the last ones")
    tracker: str = key("none", "a second place for the log's figures", choices=TRACKERS)
    log_every: int = key(20, "steps between lines of log.jsonl", min=1)

    @property
    def group(self) -> int:
        """How many examples in a row stay together, in batches and in processes; a divisor of ``batch``."""
        return 1

    @property
    def parts(self) -> int:
        """How many processes can share a batch."""
        return self.batch // self.group


def load_recipe(config: type[C], path: Path | None, overrides: Iterable[str] = ()) -> C:
    """Read a recipe file (or none: the defaults) and apply ``key=value`` words.

    Raises `InputError` for a file that is missing or no mapping, an unknown key, and a value of the wrong kind or size.
    """
    values: dict[str, Any] = {}
    if path is not None:
        values.update(_read_yaml(Path(path)))
    for word in overrides:
        name, equals, text = word.partition("=")
        if not equals or not name:
            raise InputError(f"{word!r} is not of the form key=value, as in steps=1000")
        values[name.strip()] = _parse(name, text)
    return build_config(config, values)


def build_config(config: type[C], values: Mapping[str, Any]) -> C:
    """The configuration of a mapping; every key and value is checked."""
    known = {item.name: item for item in fields(config)}
    hints = typing.get_type_hints(config)
    checked: dict[str, Any] = {}
    for name, value in values.items():
        if name not in known:
            raise InputError(one_of("recipe key", name, known))
        checked[name] = _checked(name, value, hints[name], known[name].metadata)
    return config(**checked)


def config_to_dict(config: TrainerConfig) -> dict[str, Any]:
    """The configuration as JSON and YAML can hold it."""
    values = {item.name: getattr(config, item.name) for item in fields(config)}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read recipe {str(path)!r}: {error.strerror or error}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"recipe {str(path)!r} is no valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict) or not all(isinstance(name, str) for name in values):
        raise InputError(f"recipe {str(path)!r} must be a mapping of keys to values")
    return values


def _parse(name: str, text: str) -> Any:
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InputError(f"recipe key {name!r}: {text!r} is no valid YAML value") from error
    return "" if value is None and text.strip() == "" else value


def _checked(name: str, value: Any, hint: Any, limits: Mapping[str, Any]) -> Any:
    optional = typing.get_origin(hint) in (typing.Union, types.UnionType)
    if optional:
        if value is None:
            return None
        hint = next(kind for kind in typing.get_args(hint) if kind is not type(None))
    value = _converted(name, value, hint)
    for number in value if isinstance(value, tuple) else (value,):
        if "min" in limits and number < limits["min"]:
            raise InputError(f"recipe key {name!r} is {number}; valid is at least {limits['min']}")
        if "max" in limits and number > limits["max"]:
            raise InputError(f"recipe key {name!r} is {number}; valid is at most {limits['max']}")
        if "choices" in limits and number not in limits["choices"]:
            raise InputError(one_of(f"value of recipe key {name!r}:", number, limits["choices"]))
    return value


def _converted(name: str, value: Any, kind: Any) -> Any:
    if typing.get_origin(kind) is tuple:
        if isinstance(value, str) and "," in value:  # key=a,b as well as key=[a, b]
            value = [_parse(name, part) for part in value.split(",")]
        items = value if isinstance(value, list | tuple) else [value]
        return tuple(_converted(name, item, typing.get_args(kind)[0]) for item in items)
    if isinstance(value, str) and kind is float:
        with contextlib.suppress(ValueError):  # YAML 1.1 reads 1e-4 as a string
            value = float(value)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        with contextlib.suppress(OverflowError):
            value = float(value)
    if type(value) is not kind or (kind is float and not math.isfinite(value)):
        words = {int: "a whole number", float: "a finite number", bool: "true or false", str: "a word"}
        raise InputError(f"recipe key {name!r} is {value!r}; valid is {words.get(kind, str(kind))}")
    return value
