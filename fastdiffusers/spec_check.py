"""Is a specification well formed? Asked of every plugin before anything it offers is listed."""

from __future__ import annotations

import re
from typing import Any

from fastdiffusers.accelerator import AcceleratorSpec, Fidelity, Kind, Reference
from fastdiffusers.errors import PlanError, PluginError
from fastdiffusers.options import build_config, options_of, plain_options
from fastdiffusers.request import NAME, NONE, trial_request

TARGET = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")
_WORD_SETS = ("claims", "requires", "tags", "conflicts", "before", "after")


def check_spec(spec: Any) -> None:
    """Raise a one-line `PluginError` that says what is wrong with ``spec``; return quietly when nothing is."""
    if not isinstance(spec, AcceleratorSpec):
        raise PluginError(f"register_accelerators must give AcceleratorSpec objects, got {type(spec).__name__}")
    if not isinstance(spec.name, str) or not NAME.fullmatch(spec.name) or spec.name == NONE:
        raise PluginError(f"accelerator name {spec.name!r} is not lower-case words joined by hyphens, or is reserved")
    try:
        _check_fields(spec)
        options = options_of(spec.config)
        defaults = build_config(spec.name, spec.config, {})
        build_config(spec.name, spec.config, plain_options(defaults))
        _check_trial(spec)
    except PlanError as error:
        raise PluginError(
            f"the defaults of accelerator {spec.name!r} are refused by its own config: {error}"
        ) from error
    except PluginError as error:
        raise PluginError(f"accelerator {spec.name!r}: {error}") from error
    for name in options:
        if not name.isidentifier() or name.startswith("_"):
            raise PluginError(f"accelerator {spec.name!r}: option {name!r} is not a public identifier")


def check_target(target: Any) -> None:
    """Raise a one-line `PluginError` unless ``target`` reads ``"package.module:Class"``."""
    if not isinstance(target, str) or not TARGET.fullmatch(target):
        raise PluginError(f"target {target!r} is not of the form 'package.module:Class'")


def _check_trial(spec: AcceleratorSpec) -> None:
    try:
        request = trial_request(spec)
        build_config(spec.name, spec.config, request.options)
    except PlanError as error:
        raise PluginError(f"its trial {spec.trial!r} cannot be asked for: {error}") from error


def _check_fields(spec: AcceleratorSpec) -> None:
    check_target(spec.target)
    if not isinstance(spec.kind, Kind):
        raise PluginError(f"kind must be a Kind, got {spec.kind!r}")
    if not isinstance(spec.fidelity, Fidelity):
        raise PluginError(f"fidelity must be a Fidelity, got {spec.fidelity!r}")
    if not isinstance(spec.summary, str) or not spec.summary.strip() or "\n" in spec.summary:
        raise PluginError("summary must be one line that is not empty")
    for field in _WORD_SETS:
        words = getattr(spec, field)
        if not isinstance(words, frozenset) or not all(isinstance(word, str) and word for word in words):
            raise PluginError(f"{field} must be a frozenset of words, got {words!r}")
    if not isinstance(spec.references, tuple) or not all(isinstance(item, Reference) for item in spec.references):
        raise PluginError("references must be a tuple of Reference")
    if spec.predict is not None and not callable(spec.predict):
        raise PluginError("predict must be a function or None")
