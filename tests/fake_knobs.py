"""Accelerators with options to tune, and a pipeline whose clock and latents are a script of their values. No Paddle."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from fastdiffusers.accelerator import AcceleratorSpec, Kind, Prediction, Setting
from fastdiffusers.bench.measure import Bench
from fastdiffusers.bench.workload import Workload
from fastdiffusers.errors import InputError, NumericalError
from fastdiffusers.hookspecs import hookimpl
from fastdiffusers.plugins import Registry, Source
from fastdiffusers.tunable import Tunable

STEPS = 20
SETTING = Setting(steps=STEPS, guidance=3.5, height=16, width=32)


@dataclass(frozen=True)
class Info:
    name: str = "fake"
    family: str = "fake"
    path: Path = Path("/models/fake")
    sha256: str = "ab" * 32
    features: frozenset[str] = frozenset({"blocks"})
    default_setting: Setting = SETTING


@dataclass(frozen=True)
class Knob:
    threshold: float = field(default=0.1, metadata={"min": 0, "tunable": Tunable(0.01, 1.0, quantized=1.5)})
    first: int = 1
    force: bool = False


@dataclass(frozen=True)
class Budget:
    computed: int = field(default=10, metadata={"tunable": Tunable(2, 20, faster="down", log=False)})


@dataclass(frozen=True)
class Either:
    """One of two options, as the indicator says."""

    indicator: str = field(default="probe", metadata={"choices": ("probe", "interval", "mask")})
    threshold: float | None = field(default=None, metadata={"tunable": Tunable(0.01, 1.0)})
    interval: int | None = field(default=None, metadata={"tunable": Tunable(2, 10)})

    def __post_init__(self) -> None:
        for name, owner in (("threshold", "probe"), ("interval", "interval")):
            if getattr(self, name) is not None and self.indicator != owner:
                raise InputError(f"{name} means nothing with indicator={self.indicator}")


@dataclass(frozen=True)
class Fixed:
    depth: int = 2


def registry() -> Registry:
    """One plugin with the accelerators above."""

    def spec(name: str, config: type, kind: Kind = Kind.CACHE, **more: Any) -> AcceleratorSpec:
        return AcceleratorSpec(name, kind, f"does {name} things", "fake_knobs:None_", config, **more)

    def few(config: Any, info: Any, setting: Setting) -> Prediction:
        if setting.steps < 8:
            raise InputError("knob needs 8 steps")
        return Prediction(True, "as scripted")

    class Plugin:
        @hookimpl
        def register_accelerators(self) -> list[AcceleratorSpec]:
            return [
                spec("knob", Knob, claims=frozenset({"blocks"}), predict=few),
                spec("budget", Budget),
                spec("either", Either),
                spec("fixed", Fixed),
                spec("fp8", Fixed, Kind.QUANTIZE),
            ]

    found = Registry([Source("knobs", "fake_knobs", Plugin)])
    assert [record.status for record in found.plugins] == ["ok"], found.plugins
    return found


Curve = Callable[[float], float]


class Pipe:
    """A step takes 0.1 s times the share that ``computed(value)`` gives; latents move by ``distance(value)``.

    ``noise(call)`` multiplies the time of each call; ``stop_at`` is the number of a call in which Ctrl-C comes.
    """

    def __init__(self, computed: Curve, distance: Curve, noise: Curve = lambda call: 1.0, stop_at: int = 0) -> None:
        self.info = Info()
        self.context = SimpleNamespace(steps=STEPS)
        self.computed, self.distance, self.noise, self.stop_at = computed, distance, noise, stop_at
        self.counts = True
        self.value: float | None = None
        self.now = 0.0
        self.calls = 0
        self.order: list[str] = []

    def __call__(self, prompt: str, **options: Any) -> Any:
        self.calls += 1
        if self.calls == self.stop_at:
            raise KeyboardInterrupt
        steps = options["num_inference_steps"]
        share = 1.0 if self.value is None else self.computed(self.value)
        moved = 0.0 if self.value is None else self.distance(self.value)
        if moved == float("inf"):
            raise NumericalError("NaN at step 3")
        if steps == STEPS:
            self.order.append("plain" if self.value is None else f"{self.value:g}")
        stages = {"text": 0.5, "denoise": 0.1 * steps * share * self.noise(self.calls), "decode": 0.5}
        self.now += sum(stages.values())
        self.context.steps = steps
        image = np.full((options["height"], options["width"], 3), min(100 + round(100 * moved), 255), np.uint8)
        return SimpleNamespace(images=[image], latents=np.full((1, 4, 2), 1.0 + moved), stages=stages)

    @contextmanager
    def attach(self, pipe: Any, plan: Any) -> Any:
        """Stands in for `fastdiffusers.session.accelerate`."""
        tuned = [item for item in plan.items if item.spec.name in ("knob", "budget", "either")]
        self.value = next(
            (next(iter(v for v in item.options.values() if isinstance(v, int | float))) for item in tuned), None
        )
        try:
            yield SimpleNamespace(report=lambda: [self.record(item) for item in plan.items])
        finally:
            self.value = None

    def record(self, item: Any) -> Any:
        computed = STEPS * self.computed(self.value) if self.value is not None else STEPS
        stats = {"cond": {"computed": computed, "steps": STEPS}} if item.spec.name != "fp8" and self.counts else {}
        return SimpleNamespace(to_dict=lambda: {"name": item.spec.name, "stats": stats})

    def bench(self, prompts: tuple[str, ...] = ("a", "b", "c")) -> Bench:
        """A bench on this pipeline and its clock."""
        return Bench(self, Workload(prompts, SETTING, runs=1, seed=5), self.attach, clock=lambda: self.now)
