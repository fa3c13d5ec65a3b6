"""Backward simulation: the student is trained where its own drawing leads, as it will be when it draws.

Yin et al. 2024, "Improved Distribution Matching Distillation", section 4.5. Noised data, on which a student is trained
otherwise, has a share of the picture in it that its own states lack.
"""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import paddle

from fastdiffusers.distillation.networks import STUDENT
from fastdiffusers.distillation.process import Process
from fastdiffusers.distillation.samplers import EULER
from fastdiffusers.distillation.scene import Scene


@paddle.no_grad()
def simulate(scene: Scene, steps: int, sampler: str) -> Scene:
    """The scene at the k-th of the ``steps`` levels that drawing visits, k drawn once for the batch.

    The student goes there from noise as it draws, by one of `samplers.SAMPLERS`: ``euler`` follows its ODE, ``lcm``
    goes to x̂₀ and back with fresh noise. No gradient flows through the way.
    """
    stops = scene.grid.visited(steps)
    chance = scene.common if scene.common is not None else scene.rng
    k = int(chance.integers(len(stops)))
    levels = [scene.level(np.full(scene.count, stop)) for stop in stops[: k + 1]]
    x = scene.noise
    for level, end in itertools.pairwise(levels):
        prediction = scene.networks.predict(STUDENT, x, level, scene.student)
        x = follow(scene.process, sampler, x, prediction, level, end, scene)
    return dataclasses.replace(scene, n=np.full(scene.count, stops[k]), given=x)


def follow(
    process: Process,
    sampler: str,
    x: paddle.Tensor,
    prediction: paddle.Tensor,
    level: paddle.Tensor,
    end: paddle.Tensor,
    scene: Scene,
) -> paddle.Tensor:
    """One step of drawing, from ``level`` to ``end``."""
    if sampler == EULER:
        return process.step(x, prediction, level, end)
    return process.add_noise(process.clean(x, prediction, level), scene.normal(), end)
