"""Where calibrations lie: beside the model, or in the user's cache if that folder cannot be written. No Paddle."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from fastdiffusers.errors import InputError, PlanError
from fastdiffusers.files import atomic_write, cache_dir
from fastdiffusers.models.info import ModelInfo
from fastdiffusers.zoo import EMBEDDED

T = TypeVar("T")


def _places(info: ModelInfo, name: str) -> tuple[Callable[[], Path], Callable[[], Path]]:
    """Functions, since the second needs the hash of the weights, which takes its time on a large model."""
    return (
        lambda: info.path / "calibration" / f"{name}.json",
        lambda: cache_dir() / "calibration" / info.sha256[:16] / f"{name}.json",
    )


def write(name: str, content: dict[str, Any], info: ModelInfo) -> Path:
    """Keep the calibration of the cache ``name`` with the hash of the weights; returns the file written."""
    text = json.dumps({"format": 1, "model": info.name, "model_sha256": info.sha256, **content}, indent=1) + "\n"
    beside, cached = _places(info, name)
    try:
        return _write(beside(), text)
    except InputError:  # an installed model may lie where the user cannot write
        return _write(cached(), text)


def _write(path: Path, text: str) -> Path:
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path


def read(name: str, info: ModelInfo, parse: Callable[[dict[str, Any]], T]) -> T | None:
    """The model's own calibration of the cache ``name``, or None.

    ``parse`` makes it of the file's content and raises ValueError, KeyError or TypeError for what it cannot use. A
    calibration made for other weights is a `PlanError`: they were changed since.
    """
    refusal: PlanError | None = None
    for place in _places(info, name):
        path = place()
        if not path.is_file():
            continue
        try:
            return _read(path, name, info, parse)
        except PlanError as error:  # the other place may have a newer one
            refusal = refusal or error
    if refusal is not None:
        raise refusal
    return None


def _read(path: Path, name: str, info: ModelInfo, parse: Callable[[dict[str, Any]], T]) -> T:
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        own = str(content["model_sha256"])
        result = parse(content)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise PlanError(
            f"calibration {str(path)!r} cannot be read ({error}); run `fastdiff calibrate {name}`"
        ) from None
    if own != info.sha256:
        raise PlanError(
            f"calibration {str(path)!r} was made for other weights ({own[:12]}, the model is {info.sha256[:12]}); "
            f"run `fastdiff calibrate {name}` again"
        )
    return result


def command(name: str, info: ModelInfo) -> str:
    """The command that calibrates the cache ``name`` on this model."""
    return f"fastdiff calibrate {name} --model {info.name if info.name in EMBEDDED else info.path}"
