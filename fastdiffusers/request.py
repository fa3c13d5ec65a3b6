"""The words a user types for accelerators: ``lightning,teacache:threshold=0.4``.

A comma composes, options follow colons, ``none`` stands for no accelerator at all. Values are still text here (or what
YAML and Python gave); `fastdiffusers.options` reads them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fastdiffusers.errors import PlanError

if TYPE_CHECKING:
    from fastdiffusers.accelerator import AcceleratorSpec

NONE = "none"
ASKED = "asked"
AUTOMATIC = "automatic"
NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


@dataclass(frozen=True)
class Request:
    """One accelerator by name, with the options given for it; ``source`` is ``"asked"`` or ``"automatic"``."""

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    source: str = ASKED


def parse(text: str | Sequence[str] | None) -> list[Request]:
    """Read ``"a:x=1:y=2,b"`` (a list composes as a comma does; None and ``"none"`` give no request).

    Raises `PlanError` for an empty name, a malformed option, an option or a name given twice, and ``none`` beside
    another accelerator.
    """
    if text is None:
        return []
    parts = [part for item in ([text] if isinstance(text, str) else text) for part in _text(item).split(",")]
    requests = [_request(part.strip(), part) for part in parts]
    names = [request.name for request in requests]
    for name in names:
        if names.count(name) > 1:
            raise PlanError(f"accelerator {name!r} is named twice; name it once, with all its options")
    if NONE in names:
        if len(names) > 1:
            raise PlanError(f"'none' means no accelerator and does not compose; got {', '.join(names)}")
        if requests[0].options:
            raise PlanError("'none' means no accelerator and has no options")
        return []
    return requests


def trial_request(spec: AcceleratorSpec) -> Request:
    """An accelerator with the options that it is tried with; see `AcceleratorSpec.trial`."""
    return _request(f"{spec.name}:{spec.trial}" if spec.trial else spec.name, spec.trial)


def format_requests(requests: Sequence[Request]) -> str:
    """The words that `parse` reads back to the same requests; ``"none"`` for an empty list."""
    return ",".join(_words(request) for request in requests) or NONE


def _words(request: Request) -> str:
    return ":".join([request.name, *(f"{name}={_word(value)}" for name, value in request.options.items())])


def _word(value: Any) -> str:
    if isinstance(value, list | tuple):
        return "/".join(_word(item) for item in value)
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)


def _text(item: Any) -> str:
    if not isinstance(item, str):
        raise PlanError(f"an accelerator is named by text such as 'teacache:threshold=0.4', got {item!r}")
    return item


def _request(part: str, original: str) -> Request:
    name, *pieces = (piece.strip() for piece in part.split(":"))
    if not name:
        where = f" in {original!r}" if part else ""
        raise PlanError(f"empty accelerator name{where}; write NAME or NAME:OPTION=VALUE, with commas between several")
    options: dict[str, str] = {}
    for piece in pieces:
        key, equals, value = piece.partition("=")
        key = key.strip()
        if not key or not equals:
            raise PlanError(f"cannot read {piece!r} in {part!r}; options are written {name}:OPTION=VALUE")
        if not value.strip():
            raise PlanError(f"{name}: option {key!r} has no value in {part!r}; write {key}=VALUE")
        if key in options:
            raise PlanError(f"{name}: option {key!r} is given twice")
        options[key] = value.strip()
    return Request(name, options)
