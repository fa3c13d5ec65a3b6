"""Suites: what to compare and on what, as a YAML file."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastdiffusers.errors import InputError

SUITES = Path("benchmarks") / "suites"
SUFFIXES = (".yaml", ".yml")


@dataclass(frozen=True)
class Suite:
    """The content of a suite file; what it leaves out is None and falls to the command line or the model.

    Attributes:
        description: what the suite is for.
        model: an embedded model's name, or a folder (relative to the suite's file when it names one that is there).
        prompts: a list of texts, or the path of a file with one a line (in YAML relative to the suite's file).
        steps, guidance, size, seed, runs: as on the command line; ``size`` is ``WIDTHxHEIGHT``.
        arms: SPEC[@STEPS], one each.
        controls: whether to add plain sampling with as many steps as each cache computed.
        features: whether quality has the distance in the scorer's features.
        replay: whether the decisions of each cache are replayed on a larger model.
        peers: a file of points that others measured (relative to the suite's file).
    """

    description: str | None = None
    model: str | None = None
    prompts: tuple[str, ...] | Path | None = None
    steps: int | None = None
    guidance: float | None = None
    size: str | None = None
    seed: int | None = None
    runs: int | None = None
    arms: tuple[str, ...] | None = None
    controls: bool | None = None
    features: bool | None = None
    replay: bool | None = None
    peers: Path | None = None


def read_suite(name_or_path: str) -> Suite:
    """Read a suite by path, or by name from ./benchmarks/suites (which a clone has and an installed package has not).

    A missing file, YAML that cannot be read, an unknown key or a value of the wrong type is a one-line `InputError`.
    """
    import yaml

    path = _find(name_or_path)
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read the suite {str(path)!r}: {error.strerror or error}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"the suite {str(path)!r} is not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(data, dict):
        raise InputError(f"the suite {str(path)!r} is not a mapping; valid keys: {', '.join(_READERS)}")
    values = {}
    for key, value in data.items():
        if key not in _READERS:
            raise InputError(f"suite {str(path)!r}: unknown key {str(key)!r}; valid: {', '.join(_READERS)}")
        expects, read = _READERS[key]
        try:
            values[key] = read(value, path.parent)
        except ValueError:
            raise InputError(f"suite {str(path)!r}: {key} must be {expects}, got {value!r}") from None
    return Suite(**values)


def _find(name_or_path: str) -> Path:
    path = Path(name_or_path)
    if path.suffix in SUFFIXES or os.path.isfile(path):  # unlike Path.is_file it bears any name, however long
        if not os.path.isfile(path):
            raise InputError(f"no suite file {name_or_path[:200]!r}{_known()}")
        return path
    for suffix in SUFFIXES:
        named = SUITES / f"{name_or_path}{suffix}"
        if os.path.isfile(named):
            return named
    raise InputError(
        f"no suite {name_or_path[:200]!r}; valid: the path of a YAML file, or a name under ./{SUITES.as_posix()} of a "
        f"clone (suites are not installed with the package){_known()}"
    )


def _known() -> str:
    names = sorted(item.stem for item in SUITES.glob("*") if item.suffix in SUFFIXES) if SUITES.is_dir() else []
    return f"; here: {', '.join(names)}" if names else f"; there is no ./{SUITES.as_posix()} here"


def _text(value: Any, folder: Path) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError
    return value


def _model(value: Any, folder: Path) -> str:
    text = _text(value, folder)
    beside = folder / text
    return str(beside) if os.path.isdir(beside) else text


def _texts(value: Any, folder: Path) -> tuple[str, ...]:
    if not isinstance(value, list) or not value or not all(isinstance(item, str) for item in value):
        raise ValueError
    return tuple(value)


def _prompts(value: Any, folder: Path) -> tuple[str, ...] | Path:
    return folder / value if isinstance(value, str) and value else _texts(value, folder)


def _file(value: Any, folder: Path) -> Path:
    return folder / _text(value, folder)


def _whole(minimum: int) -> Callable[[Any, Path], int]:
    def read(value: Any, folder: Path) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
            raise ValueError
        return value

    return read


def _guidance(value: Any, folder: Path) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
        raise ValueError
    return float(value)


def _flag(value: Any, folder: Path) -> bool:
    if not isinstance(value, bool):
        raise ValueError
    return value


_READERS: dict[str, tuple[str, Callable[[Any, Path], Any]]] = {
    "description": ("text", _text),
    "model": ("a model's name or folder", _model),
    "prompts": ("a list of texts, or the name of a file with one a line", _prompts),
    "steps": ("an integer of at least 1", _whole(1)),
    "guidance": ("a number of at least 0", _guidance),
    "size": ("text such as '96x96'", _text),
    "seed": ("an integer of at least 0", _whole(0)),
    "runs": ("an integer of at least 1", _whole(1)),
    "arms": ("a list of arms, SPEC or SPEC@STEPS", _texts),
    "controls": ("true or false", _flag),
    "features": ("true or false", _flag),
    "replay": ("true or false", _flag),
    "peers": ("the name of a JSON file", _file),
}
