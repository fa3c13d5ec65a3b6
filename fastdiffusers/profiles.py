"""Profiles: the settings that `fastdiff tune` chose, and where they are kept. No Paddle.

A calibration is a property of the model and lies beside it. A profile is what somebody wanted, measured on this
machine: it lies in the user's cache, in one file for each model, named by the hash of the weights.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from fastdiffusers.errors import PlanError
from fastdiffusers.files import atomic_write, cache_dir
from fastdiffusers.models.info import ModelInfo

FORMAT = 1


@dataclass(frozen=True)
class Key:
    """What a profile holds for, beside the model.

    Attributes:
        accelerator, option: what was tuned.
        fixed: every other option of the accelerator with its value.
        beside: the other accelerators of the plan, by name, each as ``{"name": …, "options": {…}}``.
        steps, height, width: of the call.
        dtype: what the model computes in.
    """

    accelerator: str
    option: str
    fixed: Mapping[str, Any]
    beside: tuple[Mapping[str, Any], ...]
    steps: int
    height: int
    width: int
    dtype: str


@dataclass(frozen=True)
class Profile:
    """A value for a `Key`: ``target`` is what was wanted, ``measured`` what was seen, ``made`` when and where."""

    key: Key
    value: float
    target: Mapping[str, float] = field(default_factory=dict)
    measured: Mapping[str, Any] = field(default_factory=dict)
    made: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The profile as JSON can hold it."""
        rest = {name: dict(getattr(self, name)) for name in ("target", "measured", "made")}
        return {**_plain(self.key), "value": self.value, **rest}


def profiles_file(info: ModelInfo) -> Path:
    """Where the profiles of a model lie."""
    return cache_dir() / "profiles" / f"{info.sha256[:16]}.json"


def read_profiles(info: ModelInfo) -> list[Profile]:
    """All profiles of a model, oldest first; a `PlanError` for a file that cannot be used."""
    file = profiles_file(info)
    if not file.is_file():
        return []
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        if content["format"] != FORMAT or content["model_sha256"] != info.sha256:
            raise ValueError("another format or model")
        return [_profile(entry) for entry in content["profiles"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise PlanError(f"the profiles in {str(file)!r} cannot be read ({error}); remove the file") from None


def find_profile(info: ModelInfo, key: Key) -> Profile | None:
    """The profile for exactly this key."""
    wanted = _plain(key)
    return next((one for one in read_profiles(info) if _plain(one.key) == wanted), None)


def keep_profile(info: ModelInfo, profile: Profile) -> Path:
    """Store a profile in place of an older one with its key; returns the file."""
    wanted = _plain(profile.key)
    return _write(info, [one for one in read_profiles(info) if _plain(one.key) != wanted] + [profile])


def forget_profile(info: ModelInfo, key: Key) -> Profile | None:
    """Remove the profile for exactly this key; returns it, or None where there was none."""
    found = find_profile(info, key)
    if found is not None:
        _write(info, [one for one in read_profiles(info) if one != found])
    return found


def _write(info: ModelInfo, profiles: list[Profile]) -> Path:
    content = {
        "format": FORMAT,
        "model": info.name,
        "model_sha256": info.sha256,
        "profiles": [profile.to_dict() for profile in profiles],
    }
    with atomic_write(profiles_file(info)) as temporary:
        temporary.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return profiles_file(info)


def _profile(entry: Mapping[str, Any]) -> Profile:
    names = {name: entry[name] for name in Key.__dataclass_fields__}
    key = Key(**{**names, "beside": tuple(names["beside"])})
    value = entry["value"]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"the value {value!r} is no number")
    return Profile(key, value, dict(entry["target"]), dict(entry["measured"]), dict(entry["made"]))


def _plain(key: Key) -> dict[str, Any]:
    """The key as it comes out of a file again."""
    plain: dict[str, Any] = json.loads(json.dumps(asdict(key)))
    return plain
