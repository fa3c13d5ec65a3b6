"""A pipeline whose clock is a script: what each arm costs and draws is known beforehand. No Paddle."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from fastdiffusers.accelerator import AcceleratorSpec, Fidelity, Kind, Prediction, Setting
from fastdiffusers.bench.arms import order_arms, parse_arm, plan_arm
from fastdiffusers.bench.measure import Bench, Measurement
from fastdiffusers.bench.workload import Workload
from fastdiffusers.hookspecs import hookimpl
from fastdiffusers.plugins import Registry, Source

STEPS = 10
SETTING = Setting(steps=STEPS, guidance=3.5, height=16, width=16)
MACHINE = {"cpu": "scripted", "device": "cpu", "threads": 1, "paddle": "3.3.1", "load": 0.0}
MODEL = {"name": "fake", "family": "fake", "sha256": "0" * 64, "dtype": "float32"}


@dataclass(frozen=True)
class Info:
    name: str = "fake"
    family: str = "fake"
    path: Path = Path("fake")
    sha256: str = "0" * 64
    features: frozenset[str] = frozenset({"blocks"})
    default_setting: Setting = SETTING
    card: dict[str, Any] = field(default_factory=dict)


@dataclass
class Behaviour:
    """What an accelerator does to the scripted pipeline."""

    factor: float = 1.0  # of the time of a step
    shift: int = 0  # added to every pixel
    latent_shift: float = 0.0
    engages: Any = True  # or a function of the prompt
    computed: Any = None  # or a function of the prompt
    fails: str = ""
    stats: dict[str, Any] = field(default_factory=dict)


BEHAVIOURS = {
    "fast": Behaviour(factor=0.5, shift=10, latent_shift=0.1, computed=5),
    "varying": Behaviour(factor=0.5, computed=lambda prompt: {"a": 7}.get(prompt, 4)),
    "idle": Behaviour(engages=False),
    "moody": Behaviour(engages=lambda prompt: prompt == "a"),
    "failing": Behaviour(fails="out of luck"),
    "compiled": Behaviour(factor=0.8, stats={"compile_s": 1.5}),
    "needy": Behaviour(),
    "modest": Behaviour(),
}


def specs() -> list[AcceleratorSpec]:
    def spec(name: str, kind: Kind = Kind.CACHE, **fields: Any) -> AcceleratorSpec:
        return AcceleratorSpec(name, kind, f"does {name} things", "scripted:None_", **fields)

    return [
        spec("fast", claims=frozenset({"blocks"})),
        spec("varying", claims=frozenset({"blocks"})),
        spec("idle", claims=frozenset({"blocks"})),
        spec("moody"),
        spec("failing"),
        spec("compiled", Kind.COMPILE, fidelity=Fidelity.EXACT),
        spec("needy", requires=frozenset({"wings"})),
        spec("modest", predict=lambda config, info, setting: Prediction(False, "its threshold is too low")),
        spec("four-steps", Kind.DISTILL, claims=frozenset({"steps"})),
    ]


BEHAVIOURS["four-steps"] = Behaviour(shift=3)


def registry(*names: str) -> Registry:
    """A registry with one plugin that offers the named accelerators (all of them by default)."""

    class Plugin:
        @hookimpl
        def register_accelerators(self) -> list[AcceleratorSpec]:
            return [spec for spec in specs() if not names or spec.name in names]

    found = Registry([Source("scripted", "scripted", Plugin)])
    assert [record.status for record in found.plugins] == ["ok"], found.plugins
    return found


class ScriptedPipe:
    """Each step takes 0.1 s (times ``slowdown(call number)``); text 0.02 s, decoding 0.03 s."""

    def __init__(self, slowdown: Any = lambda call: 1.0) -> None:
        self.info = Info()
        self.context = SimpleNamespace(steps=0)
        self.now = 100.0
        self.calls: list[tuple[str, str, int, int]] = []  # arm, prompt, seed, steps
        self.options: list[dict[str, Any]] = []
        self.attached: list[str] = []
        self.slowdown = slowdown
        self.prompt = ""

    def clock(self) -> float:
        return self.now

    def __call__(self, prompt: str, **options: Any) -> Any:
        self.prompt = prompt
        self.options.append(options)
        behaviours = [BEHAVIOURS[name] for name in self.attached]
        steps = options.get("num_inference_steps", 4)
        for behaviour in behaviours:
            if behaviour.fails:
                raise RuntimeError(behaviour.fails)
        self.calls.append((",".join(self.attached) or "none", prompt, options["seed"], steps))
        denoise = 0.1 * steps * self.slowdown(len(self.calls))
        for behaviour in behaviours:
            denoise *= behaviour.factor
        stages = {"text": 0.02, "denoise": denoise, "decode": 0.03}
        self.now += sum(stages.values())
        self.context.steps = steps
        shift = sum(behaviour.shift for behaviour in behaviours) + (STEPS - steps)
        latents = np.full((1, 4, 2), 2.0 + sum(behaviour.latent_shift for behaviour in behaviours) + (STEPS - steps))
        image = np.full((options["height"], options["width"], 3), 100 + shift, np.uint8)
        return SimpleNamespace(images=[image], latents=latents, stages={**stages, "total": sum(stages.values())})


def attacher(pipe: ScriptedPipe) -> Any:
    """Stands in for `fastdiffusers.session.accelerate`: attaching takes 7 s, detaching 11 s."""

    @contextmanager
    def attach(target: Any, plan: Any) -> Any:
        assert target is pipe and not pipe.attached
        pipe.now += 7.0
        pipe.attached = [item.spec.name for item in plan.items]
        try:
            yield SimpleNamespace(report=lambda: [_record(pipe, item) for item in plan.items])
        finally:
            pipe.attached = []
            pipe.now += 11.0

    return attach


def _record(pipe: ScriptedPipe, item: Any) -> Any:
    behaviour = BEHAVIOURS[item.spec.name]
    engaged = behaviour.engages(pipe.prompt) if callable(behaviour.engages) else behaviour.engages
    stats = dict(behaviour.stats)
    computed = behaviour.computed(pipe.prompt) if callable(behaviour.computed) else behaviour.computed
    if computed is not None:
        stats["cond"] = {"computed": computed, "steps": pipe.context.steps}
    record = {
        "name": item.spec.name,
        "options": item.options,
        "requested": True,
        "engaged": engaged,
        "source": item.source,
        "reason": "as scripted" if engaged else "NO EFFECT: skipped 0 of 10 steps",
        "effect": f"seen with prompt {pipe.prompt}",
        "stats": stats,
        "fidelity": item.spec.fidelity.value,
    }
    return SimpleNamespace(to_dict=lambda: record)


def measure(
    words: list[str],
    pipe: ScriptedPipe | None = None,
    prompts: tuple[str, ...] = ("a", "b"),
    runs: int = 2,
    seed: int = 5,
    controls: bool = False,
    progress: Any = lambda what, done, total: None,
) -> Measurement:
    """Measure the arms named by ``words`` on a scripted pipeline."""
    pipe = pipe or ScriptedPipe()
    workload = Workload(prompts, SETTING, runs, seed)
    plugins = registry()

    def planned(arm: Any) -> Any:
        return plan_arm(arm, plugins, pipe.info, SETTING)

    bench = Bench(pipe, workload, attacher(pipe), clock=pipe.clock, progress=progress)
    arms = [planned(arm) for arm in order_arms(parse_arm(word) for word in words)]
    return bench.measure(arms, planned if controls else None)
