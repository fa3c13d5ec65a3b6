"""A stack shaped as FLUX's whose blocks count their calls and do what a test can foretell."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import paddle

from fastdiffusers.caching.loop import CacheLoop, Log
from fastdiffusers.caching.modules import ModuleLoop
from fastdiffusers.caching.scopes import Modules
from fastdiffusers.context import StepContext
from fastdiffusers.pipelines.flux_stack import FLUX_STACK
from fastdiffusers.recorder import Recorder

TOKENS, TEXT, WIDTH = 4, 3, 8


class Counting:
    """What double and single blocks share: they add their number times ``temb``, and count."""

    def __init__(self, number):
        self.number = number
        self.calls = []

    def change(self, temb):
        self.calls.append(round(float(temb[0, 0].item()), 6))
        return temb.unsqueeze(1) * self.number


class Double(Counting):
    def __init__(self, number):
        super().__init__(number)
        self.attn = SimpleNamespace(double=lambda image, text, rope: (image * 0, text * 0))
        self.ff = self.ff_context = SimpleNamespace(forward=lambda x: x)

    def norm1(self, image, temb):
        return (image * 0 + temb.unsqueeze(1),)

    def __call__(self, image, text, temb, rope):
        change = self.change(temb)
        return image + change, text - change


class Single(Counting):
    def norm(self, joint, temb):
        return (joint * 0 + temb.unsqueeze(1),)

    def __call__(self, joint, temb, rope):
        return joint + self.change(temb)


def model_of(doubles, singles):
    blocks = [Double(i + 1.0) for i in range(doubles)]
    others = [Single(float(doubles + i + 1)) for i in range(singles)]
    return SimpleNamespace(transformer_blocks=blocks, single_transformer_blocks=others)


def plain(model, image, text, temb, rope):
    for block in model.transformer_blocks:
        image, text = block(image, text, temb, rope)
    joint = paddle.concat([text, image], axis=1)
    for block in model.single_transformer_blocks:
        joint = block(joint, temb, rope)
    return joint[:, text.shape[1] :]


def flux_sigmas(steps, mu=1.15):
    """FLUX.1-dev's noise levels at 1024 × 1024."""
    even = np.linspace(1, 1 / steps, steps)
    return np.exp(mu) / (np.exp(mu) + 1 / even - 1)


def drive(designs, levels, model=None, sigmas=None, grid=(2, 2), spoil=lambda out: None):
    """Run designs (inside out) over steps whose ``temb`` has the given levels; returns what happened.

    ``runs`` has, for every step, the numbers of the blocks that were run; ``outputs`` the mean of the output.
    ``spoil(out)`` is called with the output of each step once it was read.
    """
    model = model or model_of(2, 3)
    context, log = StepContext(), Log()
    recorder = Recorder(SimpleNamespace(), context)
    loop = plain
    for design in designs if isinstance(designs, (list, tuple)) else [designs]:
        kind = ModuleLoop if isinstance(design.scope, Modules) else CacheLoop
        loop = kind(loop, FLUX_STACK, recorder, design, log)
    blocks = [*model.transformer_blocks, *model.single_transformer_blocks]
    context.begin(np.linspace(1, 0, len(levels), endpoint=False) if sigmas is None else sigmas, grid=grid)
    runs, outputs = [], []
    for step, level in enumerate(levels):
        context.at(step)
        before = [len(block.calls) for block in blocks]
        image, text = paddle.zeros([1, TOKENS, WIDTH]), paddle.zeros([1, TEXT, WIDTH])
        out = loop(model, image, text, paddle.full([1, WIDTH], float(level)), None)
        assert out.shape == [1, TOKENS, WIDTH]
        outputs.append(out.mean().item())
        spoil(out)
        runs.append([i for i, block in enumerate(blocks) if len(block.calls) > before[i]])
    context.end()
    return SimpleNamespace(
        log=log,
        runs=runs,
        outputs=outputs,
        evaluations=sum(map(len, runs)),
        full=[len(run) == len(blocks) for run in runs],
        recorder=recorder,
    )
