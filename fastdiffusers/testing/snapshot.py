"""Everything an accelerator could have changed, remembered so that two moments can be compared.

Walks from the pipeline through attributes, dictionaries and lists; keeps identity of objects, order of entries and the
bits of arrays, besides the attributes of the classes and modules that the objects come from, and Paddle's flags.
"""

from __future__ import annotations

import hashlib
import sys
import types
from collections.abc import Iterable, Iterator
from enum import Enum
from pathlib import PurePath
from typing import Any

import numpy as np

_PLAIN = (type(None), bool, int, float, complex, str, bytes, PurePath, Enum, np.dtype, np.generic)
_CODE = (type, types.ModuleType, types.FunctionType, types.BuiltinFunctionType, types.MethodType)


# Python itself fills these in when somebody looks.
_LAZY = ("__annotations__", "__annotations_cache__", "__annotate_func__", "__dict__", "__weakref__")


class Snapshot:
    """The state of a pipeline at one moment: path → what is there. The objects are held, so that identities last.

    ``like`` is an earlier snapshot, whose classes are looked at again even where no object of theirs is left.
    """

    def __init__(self, pipe: Any, like: Snapshot | None = None) -> None:
        self._entries: dict[str, tuple[Any, ...]] = {}
        self._classes: dict[str, type] = dict(like._classes) if like else {}
        self._walk(pipe, leave_out=getattr(pipe, "context", None))
        for label, kind in self._classes.items():
            own = {name: value for name, value in vars(kind).items() if name not in _LAZY}
            self._entries[f"class {label}"] = ("keys", None, list(own))
            self._shared(f"class {label}", own)
            module = sys.modules.get(kind.__module__)
            if module is not None:
                self._shared(f"module {kind.__module__}", vars(module))
        if "paddle" in sys.modules:
            flags = sys.modules["paddle"].base.core.globals()
            for name in list(flags.keys()):
                self._entries[f"flag {name}"] = ("value", type(flags[name]), repr(flags[name]))

    def changes(self, later: Snapshot, ignore: Iterable[str] = ()) -> dict[str, str]:
        """Path → sentence for everything that is different in ``later``, except at or below the paths in ``ignore``."""
        ignored = tuple(ignore)
        below = tuple(path + mark for path in ignored for mark in ".[")
        found = {}
        for path, sentence in self._compare(later):
            if path not in ignored and not path.startswith(below):
                found[path] = sentence
        return found

    def _compare(self, later: Snapshot) -> Iterator[tuple[str, str]]:
        for path, entry in self._entries.items():
            other = later._entries.get(path)
            if other is None:
                yield path, f"{path} is gone"
            elif entry[0] != other[0]:
                yield path, f"{path} holds something else"
            elif entry[0] == "keys" and entry[2] != other[2]:
                yield f"{path}(entries)", f"{path} {_difference(entry[2], other[2])}"
            elif entry[0] in ("object", "array", "keys") and entry[1] is not other[1]:
                yield path, f"{path} is another object"
            elif entry[0] == "array" and entry[2] != other[2]:
                yield path, f"{path} has other bits"
            elif entry[0] == "value" and entry[1:] != other[1:]:
                yield path, f"{path} changed from {entry[2][:60]} to {other[2][:60]}"
        for path in later._entries:
            if path not in self._entries and not path.startswith(("class ", "module ")):
                yield path, f"{path} is new"

    def _walk(self, root: Any, leave_out: Any) -> None:
        seen: set[int] = set()
        waiting: list[tuple[str, Any]] = [("pipe", root)]
        while waiting:
            path, item = waiting.pop()
            if item is None or item is not leave_out:
                waiting.extend(reversed(self._enter(path, item, seen)))

    def _enter(self, path: str, item: Any, seen: set[int]) -> list[tuple[str, Any]]:
        """Note ``item`` and return what lies below it."""
        if isinstance(item, _PLAIN):
            self._entries[path] = ("value", type(item), repr(item))
            return []
        if isinstance(item, set | frozenset):
            self._entries[path] = ("value", type(item), repr(sorted(map(repr, item))))
            return []
        if isinstance(item, _CODE) or id(item) in seen:
            self._entries[path] = ("object", item)
            return []
        seen.add(id(item))
        bits = _bits(item)
        if bits is not None:
            self._entries[path] = ("array", item, bits)
            return []
        children: list[tuple[str, Any]] = []
        if isinstance(item, dict):
            self._entries[path] = ("keys", item, [repr(key) for key in item])
            children = [(f"{path}[{key!r}]", value) for key, value in item.items()]
        elif isinstance(item, list | tuple):
            # a tuple is its elements; a list is also itself
            itself = item if isinstance(item, list) else None
            self._entries[path] = ("keys", itself, [repr(index) for index in range(len(item))])
            children = [(f"{path}[{index}]", value) for index, value in enumerate(item)]
        else:
            self._entries[path] = ("object", item)
        if hasattr(item, "__dict__"):
            self._remember_class(type(item))
            own = vars(item)
            self._entries[f"{path}.vars()"] = ("keys", own, [repr(key) for key in own])
            children += [(f"{path}.{key}", value) for key, value in own.items()]
        return children

    def _remember_class(self, kind: type) -> None:
        for base in kind.__mro__:
            if base.__module__ not in ("builtins", "abc", "typing", "collections", "enum"):
                self._classes[f"{base.__module__}.{base.__qualname__}"] = base

    def _shared(self, path: str, entries: Any) -> None:
        for name, value in list(entries.items()):
            self._entries[f"{path}.{name}"] = ("object", value)


def _difference(before: list[str], after: list[str]) -> str:
    added, lost = sorted(set(after) - set(before)), sorted(set(before) - set(after))
    if added:
        return f"has the new entries {', '.join(added)}"
    return f"lost the entries {', '.join(lost)}" if lost else "has its entries in another order"


def _bits(item: Any) -> str | None:
    """Digest of the contents of a numpy array or a Paddle tensor; None for anything else."""
    if not isinstance(item, np.ndarray):
        if not (hasattr(item, "numpy") and hasattr(item, "stop_gradient")):
            return None
        item = item.numpy()
    head = f"{item.dtype} {item.shape} ".encode()
    return hashlib.sha256(head + np.ascontiguousarray(item).tobytes()).hexdigest()
