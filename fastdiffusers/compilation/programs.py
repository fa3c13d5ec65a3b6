"""The programs of one part in a session: found or made when first asked for, checked, run, counted."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import paddle

from fastdiffusers.accelerator import one_line
from fastdiffusers.compilation import weights
from fastdiffusers.compilation.engine import Built, Engine
from fastdiffusers.compilation.segment import Arguments, Segment, code_digest, unmarked
from fastdiffusers.compilation.store import Store, workshop
from fastdiffusers.errors import CompileError, UserError

# programs of a place that are held at once; each holds a copy of the weights, and is soon read again from disk
MOST_SHAPES = 4


@dataclass
class Log:
    """What happened: ``runs`` and ``eager`` in the latest generation, all else since the attach.

    Attributes:
        runs: calls of compiled programs.
        eager: calls that fell back to the eager blocks.
        made, loaded: programs that were compiled here, and taken from disk.
        made_s, loaded_s: seconds that took, the check left out.
        error: greatest deviation from the eager blocks that a check saw, as a share of their largest value.
        groups: fused groups, where the engine has any.
        places: what has a program.
        notes: what should be said once.
    """

    runs: int = 0
    eager: int = 0
    made: int = 0
    loaded: int = 0
    made_s: float = 0.0
    loaded_s: float = 0.0
    error: float = 0.0
    groups: int | None = None
    places: set[Hashable] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)

    def note(self, text: str) -> None:
        """Say ``text``, once."""
        if text and text not in self.notes:
            self.notes.append(text)


@dataclass
class _Program:
    segment: Segment
    built: Built | None
    shapes: set[Any] = field(default_factory=set)


class Programs:
    """Runs what ``layers`` do with ``engine``; ``label`` is the model's name for what is kept."""

    def __init__(
        self,
        engine: Engine,
        layers: Sequence[Any],
        label: str,
        dynamic: bool = False,
        fallback: bool = False,
        store: Store | None = None,
    ) -> None:
        self.engine, self.label = engine, label
        self.dynamic, self.fallback = dynamic, fallback
        self.store = Store() if store is None else store
        self.log = Log()
        self._layers = layers
        self._programs: dict[Any, _Program] = {}
        self._glance: weights.Glance | None = None

    def begin(self) -> None:
        """A generation begins: counts start anew; where weights have changed, so does everything made of them."""
        self.log.runs = self.log.eager = 0
        now = weights.glance(paddle.nn.LayerList(self._layers), self.engine.filed)
        if self._glance not in (None, now):
            self._programs.clear()
            self.log.places.clear()
            self.log.note("weights were changed after the attach: compiled anew")
        self._glance = now

    def close(self) -> None:
        """Let go of everything."""
        self._programs.clear()

    def run(self, place: tuple[Hashable, ...], make: Callable[[], Segment], arguments: Arguments) -> tuple[Any, ...]:
        """What the segment gives that ``make()`` makes; ``place`` says which one that is, but for shapes."""
        if paddle.is_grad_enabled() and any(not tensor.stop_gradient for tensor in arguments.tensors):
            raise CompileError("what is compiled has no gradient; detach the compiler before training")
        shapes = tuple((tuple(t.shape), str(t.dtype)) for t in arguments.tensors)
        sort = tuple((len(shape), dtype) for shape, dtype in shapes) if self.dynamic else shapes
        key = (place, arguments.plan, sort)
        program = self._programs.pop(key, None)
        if program is None:
            self._make_room(place[0])
            program = self._guarded(make(), arguments, sort)
        self._programs[key] = program  # at the end: used last
        found = self._run(program, arguments.tensors, shapes)
        if found is None:
            self.log.eager += 1
            return tuple(program.segment(arguments.tensors))
        self.log.runs += 1
        return tuple(found)

    def _make_room(self, where: Hashable) -> None:
        """Let go of the program of a place that was used longest ago, where it has one for each of many shapes."""
        same = [key for key in self._programs if key[0][0] == where]
        if len(same) >= MOST_SHAPES:
            del self._programs[same[0]]

    def _guarded(self, segment: Segment, arguments: Arguments, sort: Any) -> _Program:
        """The program of a segment; one with nothing built where that failed and eager blocks may stand in."""
        try:
            with unmarked(segment):
                return _Program(segment, self._made(segment, arguments, sort))
        except UserError as error:
            self._failed(str(error))
        except (OSError, RuntimeError, ValueError, TypeError, MemoryError) as error:
            self._failed(f"{segment.label}: {one_line(error)[:300]}")
        return _Program(segment, None)

    def _failed(self, reason: str) -> None:
        if not self.fallback:
            raise CompileError(f"{self.engine.label} failed: {reason} (fallback=eager goes on without it)")
        self.log.note(f"FELL BACK to eager: {reason}")

    def _made(self, segment: Segment, arguments: Arguments, sort: Any) -> Built:
        """From disk where it is kept, else anew."""
        started = time.perf_counter()
        log = self.log
        key = self._key(segment, sort) if self.engine.filed else {}
        built = self._found(segment, key)
        if built is not None:
            log.loaded, log.loaded_s = log.loaded + 1, log.loaded_s + time.perf_counter() - started
        else:
            built = self._compiled(segment, arguments, key)
            log.made, log.made_s = log.made + 1, log.made_s + time.perf_counter() - started
        log.places.add(segment.label)
        return built

    def _found(self, segment: Segment, key: dict[str, Any]) -> Built | None:
        if not self.engine.filed:
            return None
        folder, trouble = self.store.find(key)
        self.log.note(trouble)
        if folder is None:
            return None
        try:
            return self.engine.build(segment, folder)
        except (OSError, RuntimeError, ValueError) as error:
            self.store.drop(key)
            self.log.note(f"a kept program could not be read and is made anew ({one_line(error)[:120]})")
            return None

    def _compiled(self, segment: Segment, arguments: Arguments, key: dict[str, Any]) -> Built:
        if not self.engine.filed:
            return self.engine.build(segment, None)
        with workshop() as place:
            segment.save(place / "made", segment.specs(arguments, self.dynamic), self.engine.forms)
            self.engine.convert(place / "made")
            folder, trouble = self.store.keep(key, place / "made")
            self.log.note(trouble)
            return self.engine.build(segment, folder)

    def _key(self, segment: Segment, sort: Any) -> dict[str, Any]:
        return {
            "model": self.label,
            "weights": weights.digest(segment),
            **segment.identity(),
            "arguments": sort,
            "dynamic": self.dynamic,
            "paddle": paddle.__version__,
            "code": code_digest(segment),
            **self.engine.identity(),
        }

    def _run(self, program: _Program, tensors: Sequence[Any], shapes: Any) -> Sequence[Any] | None:
        """The program's answer, beside that of the eager blocks when it is new; None where these stand in."""
        if program.built is None:
            return None
        try:
            if shapes in program.shapes:
                return program.built.run(tensors)
            with unmarked(program.segment):
                found = program.built.run(tensors)
            self._check(program.segment, tensors, found)
            self._count(program.built.groups())
            program.shapes.add(shapes)
            return found
        except UserError as error:
            self._failed(str(error))
        except (OSError, RuntimeError, ValueError, TypeError, MemoryError) as error:
            self._failed(f"{program.segment.label}: {one_line(error)[:300]}")
        program.built = None
        return None

    def _count(self, groups: int | None) -> None:
        if groups is not None:
            self.log.groups = (self.log.groups or 0) + groups

    def _check(self, segment: Segment, tensors: Sequence[Any], found: Sequence[Any]) -> None:
        """`CompileError` unless ``found`` is what the eager blocks give."""
        wanted = segment(tensors)
        if [tuple(t.shape) for t in wanted] != [tuple(t.shape) for t in found]:
            raise CompileError(f"{segment.label}: it gives tensors of other shapes than the eager blocks")
        for right, other in zip(wanted, found, strict=True):
            a, b = (t.astype("float32").numpy() for t in (right, other))
            error = float(np.abs(a - b).max() / max(float(np.abs(a).max()), 1e-30))
            self.log.error = max(self.log.error, error)
            if not error <= self.engine.tolerance:
                raise CompileError(
                    f"{segment.label}: the result is off by {error:.2g} of its largest value; "
                    f"{self.engine.tolerance:g} is let pass"
                )
