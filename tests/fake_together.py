"""Accelerators of every kind for a real FLUX, so that there is something to compose."""

from __future__ import annotations

import dataclasses
from typing import Any

import paddle

from fastdiffusers.accelerator import Accelerator, AcceleratorSpec, Effect, Fidelity, Kind, Prediction
from fastdiffusers.recorder import Recorder


class Fused(Accelerator):
    """One callable in place of the loop over the blocks, as a compiler makes it."""

    def attach(self, pipe: Any, recorder: Recorder) -> None:
        self.calls = 0
        inner = pipe.transformer.block_loop

        def compiled(*inputs: Any) -> Any:
            self.calls += 1
            return inner(*inputs)

        recorder.patch(pipe.transformer, "block_loop", compiled)
        recorder.on_reset(self.forget)

    def forget(self) -> None:
        self.calls = 0

    def effect(self) -> Effect:
        return Effect(self.calls > 0, f"{self.calls} calls of what was compiled")


class Blockwise(Fused):
    """Every block's forward, compiled by itself."""

    def attach(self, pipe: Any, recorder: Recorder) -> None:
        self.calls = 0
        for block in [*pipe.transformer.transformer_blocks, *pipe.transformer.single_transformer_blocks]:
            recorder.patch(block, "forward", self.compiled(block.forward))
        recorder.on_reset(self.forget)

    def compiled(self, forward: Any) -> Any:
        def call(*inputs: Any) -> Any:
            self.calls += 1
            return forward(*inputs)

        return call


class Rounded(Accelerator):
    """Weights of the blocks with fewer digits."""

    def attach(self, pipe: Any, recorder: Recorder) -> None:
        self.layers = 0
        for layer in pipe.transformer.transformer_blocks.sublayers():
            if isinstance(layer, paddle.nn.Linear):
                self.layers += 1
                recorder.patch(layer, "weight", _parameter(self.change(layer.weight)))

    def change(self, weight: Any) -> Any:
        return (weight * 64).round() / 64

    def effect(self) -> Effect:
        return Effect(self.layers > 0, f"{self.layers} layers")


class Adapter(Rounded):
    """Weights moved by an adapter of rank 1."""

    def change(self, weight: Any) -> Any:
        return weight + 0.01 * weight.mean(axis=0, keepdim=True)


class Idle(Fused):
    """Compiles what nobody calls."""

    def attach(self, pipe: Any, recorder: Recorder) -> None:
        self.calls = 0


def _parameter(value: Any) -> Any:
    made = paddle.create_parameter(value.shape, value.dtype)
    made.set_value(value)
    return made


def _to_steps(steps: int) -> Any:
    def predict(config: Any, info: Any, setting: Any) -> Prediction:
        return Prediction(True, "distilled", f"{steps} steps", dataclasses.replace(setting, steps=steps))

    return predict


def spec(cls: type[Accelerator], name: str, kind: Kind, **changes: Any) -> AcceleratorSpec:
    """The specification of one of the classes above."""
    target = f"fake_together:{cls.__name__}"
    return AcceleratorSpec(name=name, kind=kind, summary="Made for a test.", target=target, **changes)


GRAPH, STUDENT = frozenset({"graph"}), frozenset({"scheduler", "steps"})
FUSED = spec(Fused, "fused", Kind.COMPILE, claims=GRAPH, tags=frozenset({"fused-loop"}), fidelity=Fidelity.EXACT)
BLOCKWISE = spec(Blockwise, "blockwise", Kind.COMPILE, claims=GRAPH, fidelity=Fidelity.EXACT)
ROUNDED = spec(Rounded, "rounded", Kind.QUANTIZE, claims=frozenset({"precision"}))
FOUR_STEPS = spec(Adapter, "four-steps", Kind.DISTILL, claims=STUDENT, predict=_to_steps(4))
NINE_STEPS = spec(Adapter, "nine-steps", Kind.DISTILL, claims=STUDENT, predict=_to_steps(9))
IDLE = spec(Idle, "idle", Kind.COMPILE, claims=GRAPH, fidelity=Fidelity.EXACT)
FAKES = (FUSED, BLOCKWISE, ROUNDED, FOUR_STEPS, NINE_STEPS)
