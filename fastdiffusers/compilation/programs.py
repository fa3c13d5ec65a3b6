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
from fastdiffusers.compilation.segment import Arguments, Segment, Sort, code_digest, unmarked
from fastdiffusers.compilation.store import Store, workshop
from fastdiffusers.errors import CompileError, UserError

# programs of a place that are held at once; each holds a copy of the weights, and is soon read again from disk
MOST_SHAPES = 4


FAILURES = (UserError, OSError, RuntimeError, ValueError, TypeError, MemoryError)


@dataclass
class Log:
    """What happened: ``runs`` and ``eager`` in the latest generation, all else since the attach.

    Attributes:
        runs: calls of compiled programs.
        eager: calls that fell back to eager.
        made, loaded: programs that were compiled here, and taken from disk.
        made_s, loaded_s: seconds that took, the check left out.
        error: greatest deviation from eager that a check saw, as a share of their largest value.
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
    """``remake``: makes it anew where it came from disk, until its first answer was checked."""

    segment: Segment
    built: Built | None
    remake: Callable[[], Built] | None = None
    shapes: set[Any] = field(default_factory=set)


class Programs:
    """Runs what ``layers`` do with ``engine``.

    ``label`` is the model's name for what is kept on disk, ``most`` how many programs of one place are held at once.
    """

    def __init__(
        self,
        engine: Engine,
        layers: Sequence[Any],
        label: str,
        dynamic: bool = False,
        fallback: bool = False,
        store: Store | None = None,
        most: int | None = None,
    ) -> None:
        self.engine, self.label = engine, label
        self.dynamic, self.fallback = dynamic, fallback
        self.store = Store() if store is None else store
        self.most = MOST_SHAPES if most is None else most
        self.log = Log()
        self._layers = layers
        self._programs: dict[Any, _Program] = {}
        self._glance: weights.Glance | None = None

    def begin(self) -> None:
        """A generation begins: counts start anew, and weights are looked at."""
        self.count_anew()
        self.look()

    def count_anew(self) -> None:
        """Begin the counts of the latest generation."""
        self.log.runs = self.log.eager = 0

    def look(self) -> None:
        """Where weights have changed, so does everything made of them."""
        now = weights.glance(paddle.nn.LayerList(self._layers), self.engine.filed)
        if self._glance not in (None, now):
            self._programs.clear()
            self.log.places.clear()
            self.log.note("weights were changed after the attach: compiled anew")
        self._glance = now

    def close(self) -> None:
        """Let go of everything."""
        self._programs.clear()

    def run(
        self, kind: type[Segment], place: tuple[Hashable, ...], make: Callable[[], Segment], arguments: Arguments
    ) -> tuple[Any, ...]:
        """What the segment of ``kind`` gives that ``make()`` makes; ``place`` says which one, but for shapes."""
        self._check_no_gradient(arguments)
        sort = kind.sort(arguments, self.dynamic)
        key = (place, arguments.plan, sort)
        program = self._programs.pop(key, None)
        if program is None:
            self._make_room(place[0])
            program = self._guarded(make(), sort)
        self._programs[key] = program  # at the end: used last
        found = self._run(program, arguments.tensors)
        if found is None:
            self.log.eager += 1
            return tuple(program.segment(arguments.tensors))
        self.log.runs += 1
        return tuple(found)

    def _check_no_gradient(self, arguments: Arguments) -> None:
        if not paddle.is_grad_enabled():
            return
        own = (parameter for layer in self._layers for parameter in layer.parameters())
        if any(not tensor.stop_gradient for tensor in (*arguments.tensors, *own)):
            raise CompileError(
                "what is compiled has no gradient; call it under paddle.no_grad(), or detach the compiler to train"
            )

    def _make_room(self, where: Hashable) -> None:
        """Let go of the program of a place that was used longest ago, where it has one for each of many shapes."""
        same = [key for key in self._programs if key[0][0] == where]
        if len(same) >= self.most:
            del self._programs[same[0]]

    def _guarded(self, segment: Segment, sort: Sort) -> _Program:
        """The program of a segment; one with nothing built where that failed and eager may stand in."""
        try:
            with unmarked(segment):
                return self._made(segment, sort)
        except FAILURES as error:
            self._failed(_reason(segment, error))
        return _Program(segment, None)

    def _failed(self, reason: str) -> None:
        if not self.fallback:
            raise CompileError(f"{self.engine.label} failed: {reason} (fallback=eager goes on without it)")
        self.log.note(f"FELL BACK to eager: {reason}")

    def _made(self, segment: Segment, sort: Sort) -> _Program:
        """From disk where it is kept, else anew."""
        started = time.perf_counter()
        log = self.log
        key = self._key(segment, sort) if self.engine.filed else {}
        built = self._found(segment, key)
        log.places.add(segment.label)
        if built is None:
            return _Program(segment, self._compiled(segment, sort, key))
        log.loaded, log.loaded_s = log.loaded + 1, log.loaded_s + time.perf_counter() - started

        def remake() -> Built:
            self.store.drop(key)
            return self._compiled(segment, sort, key)

        return _Program(segment, built, remake)

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

    def _compiled(self, segment: Segment, sort: Sort, key: dict[str, Any]) -> Built:
        started = time.perf_counter()
        if self.engine.filed:
            with workshop() as place:
                segment.save(place / "made", sort, self.engine.forms)
                self.engine.convert(place / "made")
                folder, trouble = self.store.keep(key, place / "made")
                self.log.note(trouble)
                built = self.engine.build(segment, folder)
        else:
            built = self.engine.build(segment, None)
        self.log.made, self.log.made_s = self.log.made + 1, self.log.made_s + time.perf_counter() - started
        return built

    def _key(self, segment: Segment, sort: Sort) -> dict[str, Any]:
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

    def _run(self, program: _Program, tensors: Sequence[Any]) -> Sequence[Any] | None:
        """The program's answer, beside that of eager when it is new; None where this stands in."""
        shapes = tuple(tuple(tensor.shape) for tensor in tensors)
        while program.built is not None:
            try:
                if shapes in program.shapes:
                    return program.built.run(tensors)
                with unmarked(program.segment):
                    found = program.built.run(tensors)
                self._check(program.segment, tensors, found)
                self._count(program.built.groups())
                program.shapes.add(shapes)
                program.remake = None
                return found
            except FAILURES as error:
                self._anew(program, error)
        return None

    def _anew(self, program: _Program, error: Exception) -> None:
        """After a failure: what came from disk is made anew, once; what was made here has failed."""
        remake, program.remake, program.built = program.remake, None, None
        if remake is None:
            self._failed(_reason(program.segment, error))
            return
        self.log.note(f"a kept program failed and is made anew ({_reason(program.segment, error)[:120]})")
        try:
            with unmarked(program.segment):
                program.built = remake()
        except FAILURES as failure:
            self._failed(_reason(program.segment, failure))

    def _count(self, groups: int | None) -> None:
        if groups is not None:
            self.log.groups = (self.log.groups or 0) + groups

    def _check(self, segment: Segment, tensors: Sequence[Any], found: Sequence[Any]) -> None:
        """`CompileError` unless ``found`` is what eager gives."""
        wanted = segment(tensors)
        if [tuple(t.shape) for t in wanted] != [tuple(t.shape) for t in found]:
            raise CompileError(f"{segment.label}: it gives tensors of other shapes than eager")
        for right, other in zip(wanted, found, strict=True):
            a, b = (t.astype("float32").numpy() for t in (right, other))
            error = float(np.abs(a - b).max() / max(float(np.abs(a).max()), 1e-30))
            self.log.error = max(self.log.error, error)
            if not error <= self.engine.tolerance:
                raise CompileError(
                    f"{segment.label}: the result is off by {error:.2g} of its largest value; "
                    f"{self.engine.tolerance:g} is let pass"
                )


def _reason(segment: Segment, error: Exception) -> str:
    return str(error) if isinstance(error, UserError) else f"{segment.label}: {one_line(error)[:300]}"
