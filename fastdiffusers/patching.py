"""Put a value on one object and take it away again so exactly that nothing can tell.

Exactly means: ``vars()`` afterwards has the same entries in the same order, and so have the dictionaries in which a
Paddle layer keeps sub-layers, parameters and buffers. Layers are recognised by those dictionaries, so that Paddle is
not imported.
"""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any

from fastdiffusers.errors import PluginError

_LAYER_DICTS = ("_parameters", "_sub_layers", "_buffers")
_NAME_SET = "_non_persistable_buffer_names_set"


def patch(owner: Any, name: str, value: Any) -> Callable[[], None]:
    """Set ``owner.name`` to ``value``; returns the function that restores what was there, or that nothing was.

    A sub-layer may be replaced by any callable, a parameter by any tensor. Classes and modules are refused: they belong
    to every pipeline in the process. Raises `PluginError`.
    """
    _refuse(owner, name)
    if not hasattr(owner, "__dict__"):
        return _patch_slot(owner, name, value)
    restores = [_remember(entries, name) for entries in _dicts(owner)]
    names = getattr(owner, _NAME_SET, None) if _is_layer(owner) else None
    was_listed = names is not None and name in names

    def restore() -> None:
        for put_back in restores:
            put_back()
        if names is not None:
            (names.add if was_listed else names.discard)(name)

    try:
        if _is_layer(owner) and not any(_kept_by_layer(owner, name, value)):
            for entries in _dicts(owner)[1:]:
                entries.pop(name, None)
        setattr(owner, name, value)
    except Exception as error:
        restore()
        raise PluginError(f"cannot set {_label(owner, name)}: {' '.join(str(error).split())}") from error
    except BaseException:
        restore()
        raise
    return restore


def _refuse(owner: Any, name: str) -> None:
    if isinstance(owner, type):
        raise PluginError(
            f"refused to patch {name!r} on the class {owner.__qualname__}; patch the instance in the pipeline"
        )
    if isinstance(owner, types.ModuleType | types.FunctionType | types.MethodType):
        raise PluginError(f"refused to patch {name!r} on {owner!r}; patch an object of the pipeline, never shared code")
    if name.startswith("__") and name.endswith("__"):
        raise PluginError(f"refused to patch {_label(owner, name)}: Python looks special methods up on the class")
    found = getattr(type(owner), name, None)
    if isinstance(found, property):
        raise PluginError(f"refused to patch {_label(owner, name)}: it is a property; patch the attribute it reads")


def _is_layer(owner: Any) -> bool:
    return all(isinstance(vars(owner).get(entry), dict) for entry in _LAYER_DICTS)


def _dicts(owner: Any) -> list[dict[str, Any]]:
    entries = [vars(owner)]
    return entries + [vars(owner)[name] for name in _LAYER_DICTS] if _is_layer(owner) else entries


def _kept_by_layer(owner: Any, name: str, value: Any) -> list[bool]:
    """Is ``value`` of the sort that the dictionary holding ``name`` now can take, so that its position is kept?"""
    own = vars(owner)
    is_layer = hasattr(value, "_sub_layers")
    is_parameter = hasattr(value, "optimize_attr") and not is_layer
    is_tensor = hasattr(value, "place") and hasattr(value, "stop_gradient") and not is_parameter
    return [
        name in own["_sub_layers"] and is_layer,
        name in own["_parameters"] and is_parameter,
        name in own["_buffers"] and is_tensor,
    ]


def _remember(entries: dict[str, Any], name: str) -> Callable[[], None]:
    """A function that gives ``entries[name]`` back its value and its place, or removes it if it was not there."""
    if name not in entries:
        return lambda: _drop(entries, name)
    value = entries[name]
    before = list(entries)

    def put_back() -> None:
        if name in entries:
            entries[name] = value
            return
        earlier = set(before[: before.index(name)])
        items = list(entries.items())
        place = max((index + 1 for index, (key, _) in enumerate(items) if key in earlier), default=0)
        items.insert(place, (name, value))
        entries.clear()
        entries.update(items)

    return put_back


def _drop(entries: dict[str, Any], name: str) -> None:
    entries.pop(name, None)


def _patch_slot(owner: Any, name: str, value: Any) -> Callable[[], None]:
    missing = object()
    old = getattr(owner, name, missing)
    try:
        setattr(owner, name, value)
    except (AttributeError, TypeError) as error:
        raise PluginError(f"cannot set {_label(owner, name)}: {' '.join(str(error).split())}") from error
    return lambda: delattr(owner, name) if old is missing else setattr(owner, name, old)


def _label(owner: Any, name: str) -> str:
    return f"{type(owner).__name__}.{name}"
