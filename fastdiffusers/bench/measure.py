"""Interleaved timing: each round draws one prompt with every arm, so that drift of the machine hits all of them.

The first arm changes from round to round (ABC, BCA, CAB …). An arm is attached anew for every round, with a short run
before the timed one; attaching, warming up and comparing pictures are outside the timing. The garbage collector is off
while the clock runs.
"""

from __future__ import annotations

import gc
import hashlib
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from fastdiffusers.accelerator import one_line
from fastdiffusers.bench.arms import Arm, PlannedArm, control_arm
from fastdiffusers.bench.memory import PeakMemory
from fastdiffusers.bench.quality import Price, price
from fastdiffusers.bench.workload import Workload

if TYPE_CHECKING:
    from fastdiffusers.bench.rounds import Rounds

Clock = Callable[[], float]
Attach = Callable[[Any, Any], AbstractContextManager[Any]]
Progress = Callable[[str, int, int], None]
Features = Callable[[Sequence[Any]], Any]
PROBES = 4
"""Prompts that a cache draws before the rounds, to find how many steps its control gets: the middle of these."""


@dataclass(frozen=True)
class Sample:
    """One timed run. ``seconds`` by the bench's clock, ``stages`` as the pipeline reports them, ``peak_mb`` in MiB."""

    prompt: int
    seconds: float
    stages: dict[str, float]
    peak_mb: float | None
    steps: int
    records: list[dict[str, Any]]
    image: Any = None
    latents: Any = None


@dataclass(frozen=True)
class Taken:
    """What one run of one arm leaves: a sample without its arrays, its price, and the hash of its latents."""

    sample: Sample
    attach_s: float
    price: Price
    digest: str


@dataclass
class ArmResult:
    """Everything measured of one arm; ``error`` is the one line of what made it fail (it is then run no more)."""

    planned: PlannedArm
    attach_s: list[float] = field(default_factory=list)
    warmup_s: float | None = None
    samples: list[Sample] = field(default_factory=list)
    prices: dict[int, Price] = field(default_factory=dict)
    warm_records: list[list[dict[str, Any]]] = field(default_factory=list)
    digests: dict[int, str] = field(default_factory=dict)
    repeatable: bool = True
    error: str = ""
    replayed: dict[str, Any] | None = None

    def take(self, taken: Taken) -> None:
        """Add one run; the first picture of each prompt is priced, later ones must be the same again."""
        prompt = taken.sample.prompt
        self.repeatable &= self.digests.setdefault(prompt, taken.digest) == taken.digest
        self.prices.setdefault(prompt, taken.price)
        self.attach_s.append(taken.attach_s)
        self.samples.append(taken.sample)


@dataclass
class Measurement:
    """What a bench measured; ``rounds`` are complete ones, ``interrupted`` says that Ctrl-C ended it early."""

    workload: Workload
    arms: list[ArmResult] = field(default_factory=list)
    rounds: int = 0
    interrupted: bool = False


class Bench:
    """Runs arms on one pipeline.

    Args:
        pipe: the pipeline; called with diffusers' parameter names.
        workload: what each arm draws.
        attach: ``attach(pipe, plan)`` is a context manager whose value has ``report()``.
        clock: seconds, monotonic.
        memory: peak memory of a run.
        synchronize: waits for the device; called before the clock is read.
        progress: ``progress(what, done, total)``, called before each run.
        features: of a list of pictures ``[N, D]``, in which the pictures' distance is part of the price.
        rounds: where complete rounds are kept, and taken from when they are there already.
    """

    def __init__(
        self,
        pipe: Any,
        workload: Workload,
        attach: Attach,
        clock: Clock = time.perf_counter,
        memory: PeakMemory | None = None,
        synchronize: Callable[[], None] = lambda: None,
        progress: Progress = lambda what, done, total: None,
        features: Features | None = None,
        rounds: Rounds | None = None,
    ) -> None:
        self.features = features
        self.rounds = rounds
        self.pipe = pipe
        self.workload = workload
        self.attach = attach
        self.clock = clock
        self.memory = memory or PeakMemory()
        self.synchronize = synchronize
        self.progress = progress

    def measure(
        self, arms: Sequence[PlannedArm], plan_control: Callable[[Arm], PlannedArm] | None = None
    ) -> Measurement:
        """Warm every arm up, then run all rounds. The first arm is the baseline; if it fails, its error is raised.

        ``plan_control``: when given, each arm that computed fewer steps than it was asked for gets a control with
        plainly that many. Ctrl-C ends the measurement after the last complete round.
        """
        result = Measurement(self.workload)
        try:
            for position, planned in enumerate(arms):
                self.progress(f"warm-up {planned.arm.label}", position, len(arms))
                # a cache computes more steps of one prompt than of another, and its control needs the middle one
                probed = plan_control is not None and bool(planned.plan.items)
                prompts = len(self.workload.prompts)
                chosen = [i * prompts // PROBES for i in range(PROBES)] if prompts > PROBES else list(range(prompts))
                result.arms.append(self._warm_up(planned, position == 0, chosen if probed else chosen[:1]))
            for control in self._controls(result.arms, plan_control):
                self.progress(f"warm-up {control.arm.label}", 0, 1)
                result.arms.append(self._warm_up(control, False, [0]))
            for number in range(self.workload.rounds):
                self._round(result, number)
        except KeyboardInterrupt:
            result.interrupted = True
        return result

    def _controls(self, arms: list[ArmResult], plan_control: Callable[[Arm], PlannedArm] | None) -> list[PlannedArm]:
        found: list[Arm] = []
        for arm in arms if plan_control is not None else []:
            counts = [count for count in map(computed_steps, arm.warm_records) if count is not None]
            if counts and not arm.error:
                taken = [other.planned.arm.label for other in arms] + [other.label for other in found]
                computed = statistics.median(count[0] for count in counts)
                control = control_arm(arm.planned, computed, counts[0][1], taken)
                found += [control] if control is not None else []
        return [plan_control(arm) for arm in found] if plan_control is not None else []

    def _warm_up(self, planned: PlannedArm, is_baseline: bool, prompts: Sequence[int]) -> ArmResult:
        """Full generations, untimed; the first is reported: it pays for whatever is built at first use."""
        result = ArmResult(planned)
        with self._failing(result, is_baseline):
            started = self.clock()
            with self.attach(self.pipe, planned.plan) as session:
                attached = self.clock()
                self._generate(planned, prompts[0])
                self.synchronize()
                result.warmup_s = self.clock() - attached
                result.attach_s.append(attached - started)
                result.warm_records = [_records(session)]
                for prompt in prompts[1:]:
                    self._generate(planned, prompt)
                    result.warm_records.append(_records(session))
        return result

    def _round(self, result: Measurement, number: int) -> None:
        """One prompt by every arm; kept only when all of them are done."""
        if self.rounds is not None and self.rounds.restore(number, result.arms):
            result.rounds += 1
            return
        prompt = number % len(self.workload.prompts)
        first = number % len(result.arms)
        taken: list[tuple[ArmResult, Sample, float]] = []
        for arm in result.arms[first:] + result.arms[:first]:
            if arm.error:
                continue
            self.progress(arm.planned.arm.label, number, self.workload.rounds)
            with self._failing(arm, arm is result.arms[0]):
                taken.append((arm, *self._timed(arm.planned, prompt)))
        found = self._judged(result.arms, taken)
        for arm, run in found:
            arm.take(run)
        result.rounds += 1
        if self.rounds is not None:
            self.rounds.keep(number, found, result.arms)

    def _judged(
        self, arms: Sequence[ArmResult], taken: Sequence[tuple[ArmResult, Sample, float]]
    ) -> list[tuple[ArmResult, Taken]]:
        """Every run beside the baseline's of the same round, the baseline first."""
        seen = [None] * len(taken) if self.features is None else self.features([sample.image for _, sample, _ in taken])
        order = sorted(zip(taken, seen, strict=True), key=lambda entry: entry[0][0] is not arms[0])
        (_, base, _), base_seen = order[0]
        found = []
        for (arm, sample, attach_s), own in order:
            with self._failing(arm, arm is arms[0]):
                cost = price(sample.image, sample.latents, base.image, base.latents, own, base_seen)
                found.append((arm, Taken(_without_arrays(sample), attach_s, cost, _digest(sample))))
        return found

    def _timed(self, planned: PlannedArm, prompt: int) -> tuple[Sample, float]:
        before = self.clock()
        with self.attach(self.pipe, planned.plan) as session:
            attach_s = self.clock() - before
            self._generate(planned, prompt, self.workload.warmup_steps)
            self.synchronize()
            self.memory.reset()
            with _no_garbage_collection():
                started = self.clock()
                output = self._generate(planned, prompt)
                self.synchronize()
                seconds = self.clock() - started
            sample = Sample(
                prompt=prompt,
                seconds=seconds,
                stages={name: float(value) for name, value in output.stages.items()},
                peak_mb=self.memory.peak_mb(),
                steps=int(self.pipe.context.steps),
                records=_records(session),
                image=np.asarray(output.images[0]),
                latents=np.asarray(output.latents),
            )
        return sample, attach_s

    def _generate(self, planned: PlannedArm, prompt: int, at_most: int | None = None) -> Any:
        """Draw one prompt. An arm that decides its steps itself is given none, and is warmed up by a full run."""
        setting = planned.plan.setting or self.workload.setting
        steps = setting.steps if at_most is None else min(at_most, setting.steps)
        given = {} if planned.owns_steps and planned.arm.steps is None else {"num_inference_steps": steps}
        return self.pipe(
            self.workload.prompts[prompt],
            guidance_scale=setting.guidance,
            height=setting.height,
            width=setting.width,
            seed=self.workload.seeds[prompt],
            **given,
        )

    @contextmanager
    def _failing(self, arm: ArmResult, is_baseline: bool) -> Any:
        """An arm that fails is marked and left out of further rounds; without a baseline there is no bench."""
        try:
            yield
        except Exception as error:
            if is_baseline:
                raise
            arm.error = one_line(error)


def computed_steps(records: list[dict[str, Any]]) -> tuple[float, int] | None:
    """(steps computed, steps of the generation) as the first accelerator that counts them says; else None.

    Read from its stats: ``computed`` (network evaluations; a fraction where single blocks are skipped) and ``steps``,
    at the top or, where there are guidance branches, under ``cond``.
    """
    for record in records:
        stats = record.get("stats") or {}
        for place in (stats, stats.get("cond")):
            if isinstance(place, Mapping) and {"computed", "steps"} <= place.keys():
                return float(place["computed"]), int(place["steps"])
    return None


def _digest(sample: Sample) -> str:
    return hashlib.sha256(np.ascontiguousarray(sample.latents).tobytes()).hexdigest()


def _without_arrays(sample: Sample) -> Sample:
    return Sample(sample.prompt, sample.seconds, sample.stages, sample.peak_mb, sample.steps, sample.records)


def _records(session: Any) -> list[dict[str, Any]]:
    return [record.to_dict() for record in session.report()]


@contextmanager
def _no_garbage_collection() -> Any:
    was_enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
