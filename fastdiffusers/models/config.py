"""Configurations of the networks: diffusers' and transformers' keys as frozen dataclasses."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, TypeVar

from fastdiffusers.errors import WeightsError

C = TypeVar("C", bound="ModelConfig")


@dataclass(frozen=True)
class ModelConfig:
    """Base of every network's configuration; fields are the keys of its ``config.json``, with their defaults.

    ``extra`` keeps keys we do not use, so that a configuration that was read is written again whole.
    """

    CLASS_NAME: ClassVar[str | None] = None

    extra: dict[str, Any] = field(default_factory=dict, kw_only=True)

    @classmethod
    def from_dict(cls: type[C], values: dict[str, Any]) -> C:
        """Build from a parsed ``config.json``: lists become tuples, keys that begin with ``_`` are dropped.

        A value of another type than the field's is a `WeightsError`.
        """
        known = {item.name for item in fields(cls)} - {"extra"}
        own: dict[str, Any] = {}
        extra: dict[str, Any] = {}
        for key, value in values.items():
            if key.startswith("_"):
                continue
            if key in known:
                own[key] = tuple(value) if isinstance(value, list) else value
                _check_type(cls, key, value)
            else:
                extra[key] = value
        return cls(**own, extra=extra)

    def to_dict(self) -> dict[str, Any]:
        """The content of ``config.json``: every field, the unknown keys that were read, and the class name."""
        result: dict[str, Any] = {}
        if self.CLASS_NAME is not None:
            result["_class_name"] = self.CLASS_NAME
        for item in fields(self):
            if item.name != "extra":
                value = getattr(self, item.name)
                result[item.name] = list(value) if isinstance(value, tuple) else value
        return {**result, **self.extra}


_KINDS = {"bool": "true or false", "int": "an integer", "float": "a number", "str": "a text", "tuple": "a list"}


def _check_type(cls: type[ModelConfig], key: str, value: Any) -> None:
    """Compare a JSON value with the field's annotation, which is a text such as ``int | None``."""
    annotation = next(str(item.type) for item in fields(cls) if item.name == key)
    allowed = [part.strip().partition("[")[0] for part in annotation.split("|")]
    if value is None:
        fits = "None" in allowed
    elif isinstance(value, bool):
        fits = "bool" in allowed
    elif isinstance(value, (list, tuple)):
        fits = "tuple" in allowed
    elif isinstance(value, int):
        fits = "int" in allowed or "float" in allowed
    else:
        fits = type(value).__name__ in allowed
    if not fits and any(part in _KINDS for part in allowed):
        valid = " or ".join(_KINDS.get(part, "null") for part in allowed)
        name = cls.CLASS_NAME or cls.__name__.removesuffix("Config")
        raise WeightsError(f"{name}: {key} is {value!r}; valid: {valid}")
