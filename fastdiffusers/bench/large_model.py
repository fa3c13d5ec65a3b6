"""A FLUX-shaped transformer with random weights, large enough that a cache's overhead weighs as on real FLUX."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import paddle

from fastdiffusers.context import StepContext
from fastdiffusers.models.transformer_flux import FluxTransformer2DModel, FluxTransformerConfig
from fastdiffusers.pipelines.pixels import position_ids
from fastdiffusers.recorder import Recorder

TEXT_TOKENS = 64
SIDE = 16  # image tokens on a side
HEADS = 16  # of 64 channels: hidden size 1024


class LargeModel:
    """Hidden size 1024, 256 image and 64 text tokens, and as many blocks as asked for; only its times mean anything."""

    def __init__(self, doubles: int = 4, singles: int = 8) -> None:
        paddle.seed(0)
        config = FluxTransformerConfig(
            num_layers=doubles,
            num_single_layers=singles,
            attention_head_dim=64,
            num_attention_heads=HEADS,
            axes_dims_rope=(16, 24, 24),
            guidance_embeds=True,
        )
        self.transformer = FluxTransformer2DModel(config)
        self.transformer.eval()
        self.context = StepContext()
        ids = position_ids(2 * SIDE, 2 * SIDE)
        self._rope = self.transformer.rope(np.zeros((TEXT_TOKENS, 3), np.float32), ids)
        self._start = paddle.randn([1, SIDE * SIDE, config.in_channels])
        self._text = paddle.randn([1, TEXT_TOKENS, config.joint_attention_dim])
        self._pooled = paddle.randn([1, config.pooled_projection_dim])
        self._guidance = paddle.to_tensor([3.5], dtype="float32")

    def run(
        self,
        sigmas: Sequence[float],
        accelerator: Any = None,
        info: Any = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> list[float]:
        """Seconds of each Euler step over ``sigmas``; with an `Accelerator`, attached as to the model ``info``."""
        recorder = Recorder(SimpleNamespace(), self.context)
        seconds = []
        try:
            if accelerator is not None:
                pipe = SimpleNamespace(transformer=self.transformer, context=self.context, info=info)
                accelerator.attach(pipe, recorder)
            with paddle.no_grad():
                self.context.begin(sigmas, grid=(SIDE, SIDE))
                levels, x = (*self.context.sigmas, 0.0), self._start
                for step in range(self.context.steps):
                    self.context.at(step)
                    started = clock()
                    t = paddle.full([1], levels[step], dtype="float32")
                    v = self.transformer(x, self._text, self._pooled, t, self._rope, self._guidance)
                    x = x + v * float(levels[step + 1] - levels[step])
                    x.numpy()  # waits for the device
                    seconds.append(clock() - started)
        finally:
            self.context.end()
            recorder.undo()
        return seconds
