"""Accelerators for the numpy pipeline: a well-behaved interval cache, and one for each way of breaking the contract."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import fake_pipe

from fastdiffusers.accelerator import Accelerator, AcceleratorSpec, Effect, Fidelity, Kind, Prediction
from fastdiffusers.recorder import Recorder


@dataclass(frozen=True)
class IntervalConfig:
    every: int = field(default=2, metadata={"help": "compute every n-th step", "min": 1})


class Interval(Accelerator):
    """Reuses the residual of the block loop; computes every n-th step."""

    def attach(self, pipe: Any, recorder: Recorder) -> None:
        self.skipped = self.calls = 0
        inner = pipe.transformer.block_loop
        state = self.states(recorder)
        recorder.on_reset(self.forget)

        def loop(model: Any, image: Any, *rest: Any) -> Any:
            mine = state()
            self.calls += 1
            mine["count"] = mine.get("count", -1) + 1
            if mine["count"] % self.config.every:
                self.skipped += 1
                return image + mine["residual"]
            out = inner(model, image, *rest)
            mine["residual"] = out - image
            return out

        recorder.patch(pipe.transformer, "block_loop", loop)

    def states(self, recorder: Recorder) -> Any:
        return recorder.state(dict)

    def forget(self) -> None:
        self.skipped = self.calls = 0

    def effect(self) -> Effect:
        stats = {"skipped": self.skipped, "calls": self.calls}
        return Effect(self.skipped > 0, f"skipped {self.skipped} of {self.calls}", stats)


class KeepsState(Interval):
    """One dictionary for each branch and for all time."""

    def states(self, recorder: Recorder) -> Any:
        kept: dict[str, dict[str, Any]] = {}
        return lambda: kept.setdefault(recorder.context.branch, {})


class MixesBranches(Interval):
    """One dictionary for both branches, cleared in every generation."""

    def states(self, recorder: Recorder) -> Any:
        kept: dict[str, Any] = {}
        recorder.on_reset(kept.clear)
        return lambda: kept


class SurvivesInterruption(Interval):
    """Clears its state at the end of a generation only: that of an interrupted one lives on."""

    def states(self, recorder: Recorder) -> Any:
        kept: dict[str, dict[str, Any]] = {}

        def state() -> dict[str, Any]:
            if recorder.context.step == recorder.context.steps - 1:
                return kept.pop(recorder.context.branch, {})
            return kept.setdefault(recorder.context.branch, {})

        return state


class LeaksAttribute(Interval):
    def attach(self, pipe: Any, recorder: Recorder) -> None:
        super().attach(pipe, recorder)
        pipe.scheduler.left_behind = 1


class ChangesWeights(Interval):
    def attach(self, pipe: Any, recorder: Recorder) -> None:
        super().attach(pipe, recorder)
        pipe.transformer.transformer_blocks[0].weight[0, 0] += 1


class RaisesAfterPatching(Interval):
    def attach(self, pipe: Any, recorder: Recorder) -> None:
        super().attach(pipe, recorder)
        raise KeyError("no such block")


class LeavesTraceWhenItFails(Interval):
    """Undoes its own attribute in on_detach, registered too late."""

    def attach(self, pipe: Any, recorder: Recorder) -> None:
        super().attach(pipe, recorder)
        pipe.scheduler.shift = 2.0


class PatchesClass(Interval):
    def attach(self, pipe: Any, recorder: Recorder) -> None:
        super().attach(pipe, recorder)
        real = fake_pipe.FakeBlock.__call__
        fake_pipe.FakeBlock.__call__ = lambda block, x, temb: real(block, x, temb)  # type: ignore[method-assign]
        recorder.on_detach(lambda: setattr(fake_pipe.FakeBlock, "__call__", real))


class LeavesFlag(Interval):
    def attach(self, pipe: Any, recorder: Recorder) -> None:
        import paddle

        super().attach(pipe, recorder)
        paddle.set_flags({"FLAGS_check_nan_inf": True})


class HoldsItself(Interval):
    everybody: list[Any] = []  # noqa: RUF012

    def attach(self, pipe: Any, recorder: Recorder) -> None:
        super().attach(pipe, recorder)
        self.everybody.append(self)


class FailsToDetach(Interval):
    def attach(self, pipe: Any, recorder: Recorder) -> None:
        super().attach(pipe, recorder)
        recorder.on_detach(lambda: 1 // 0)  # type: ignore[arg-type, return-value]


class NotJson(Interval):
    def effect(self) -> Effect:
        return Effect(True, "something", {"self": object()})


class NoEffect(Interval):
    def attach(self, pipe: Any, recorder: Recorder) -> None:
        self.skipped = self.calls = 0


class Tagged(Accelerator):
    """Writes its name into a list on attach and detach."""

    log: list[str] = []  # noqa: RUF012

    def attach(self, pipe: Any, recorder: Recorder) -> None:
        self.log.append(f"+{self.config.label}")
        recorder.patch(pipe.scheduler, f"mark_{self.config.label}", True)
        recorder.on_detach(lambda: self.log.append(f"-{self.config.label}"))
        if self.config.fail:
            raise RuntimeError("told to\nfail")

    def effect(self) -> Effect:
        return Effect(True, f"marked {self.config.label}")


@dataclass(frozen=True)
class TaggedConfig:
    label: str = "a"
    fail: bool = False


def spec(cls: type[Accelerator] = Interval, name: str = "interval", **changes: Any) -> AcceleratorSpec:
    """The specification of one of the classes above."""
    fields: dict[str, Any] = {
        "kind": Kind.CACHE,
        "summary": "Computes every n-th step.",
        "target": f"fake_accelerators:{cls.__name__}",
        "config": TaggedConfig if issubclass(cls, Tagged) else IntervalConfig,
        "claims": frozenset({"blocks"}),
        "requires": frozenset({"blocks"}),
        "fidelity": Fidelity.LOSSY,
    }
    return AcceleratorSpec(name=name, **{**fields, **changes})


def predict(config: Any, info: Any, setting: Any) -> Prediction:
    """A prediction that depends on the setting."""
    return Prediction(setting.steps > 1 and config.every > 1, f"every={config.every}", f"skips {setting.steps // 2}")
