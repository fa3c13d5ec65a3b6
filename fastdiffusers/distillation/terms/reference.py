"""Terms in the arithmetic of the first FLUX-Lightning implementation, for comparisons (``compat: reference``).

PaddleMIX, ``train_flux_lightning_lora.py``, where it departs from the papers and from the terms here. The re-noising,
which adds too little noise, is `process.LinearRenoising`; all levels are those of the solver's grid, from the end of
the phase (no noise at all) to one below its start.
"""

from __future__ import annotations

import numpy as np
import paddle

from fastdiffusers.distillation.networks import STUDENT
from fastdiffusers.distillation.scene import Scene
from fastdiffusers.distillation.terms.adversarial import Adversarial
from fastdiffusers.distillation.terms.consistency import phase_target
from fastdiffusers.distillation.terms.dmd import DistributionMatching, mean_distance
from fastdiffusers.distillation.terms.reflow import Reflow


def grid_index(scene: Scene) -> np.ndarray:
    """Indices of levels drawn from those of the phase, without its start: int ``[B]``."""
    return scene.grid.start(scene.n) + scene.rng.integers(1, scene.grid.hop + 1, scene.count)


class ReferenceAdversarial(Adversarial):
    """Real is what the consistency loss aims at, not data; real and fake have noise of their own."""

    def level(self, scene: Scene) -> paddle.Tensor:
        return scene.level(grid_index(scene))

    def pair(self, scene: Scene, level: paddle.Tensor) -> tuple[paddle.Tensor, paddle.Tensor]:
        real, fake = (
            scene.process.renoise(x, scene.end, level, scene.normal()) for x in (phase_target(scene), scene.landing)
        )
        return real, fake


class ReferenceDistributionMatching(DistributionMatching):
    """(v_real − v_fake) / mean|x_s − v_real|: predictions where the paper has denoised pictures, so the factor t is
    missing above, and a picture is compared with a velocity below; and no ½ before the square."""

    factor = 1.0

    def level(self, scene: Scene) -> paddle.Tensor:
        return scene.level(grid_index(scene))

    @paddle.no_grad()
    def gradient(self, scene: Scene, made: paddle.Tensor, end: paddle.Tensor) -> tuple[paddle.Tensor, dict[str, float]]:
        level = self.level(scene)
        x = scene.process.renoise(made, end, level, scene.normal())
        fake = self.networks.predict(STUDENT, x, level, scene.student)
        real = scene.by_teacher(x, level)
        return (real - fake) / mean_distance(made, real), {}


class ReferenceReflow(Reflow):
    """The jump begins one solver step above the level of the noise, which the network is told."""

    def levels(self, scene: Scene) -> tuple[paddle.Tensor, paddle.Tensor]:
        index = grid_index(scene)
        return scene.level(index), scene.level(index - 1)
