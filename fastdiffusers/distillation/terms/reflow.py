"""Straightness: from its own landing, taken back up, the student must come down to the same place.

FLUX-Lightning's reflow term: d(Φ(x_a, a → s; v_θ), sg x_s) on x_a re-noised from the student's own landing x_s.
"""

from __future__ import annotations

import paddle

from fastdiffusers.distillation.losses import distance
from fastdiffusers.distillation.scene import Scene
from fastdiffusers.distillation.terms.term import Metrics, Term


class Reflow(Term):
    """The jump begins where the noise was added; no gradient flows into the place that it is to come down to."""

    weight_key = "reflow_weight"

    def loss(self, scene: Scene) -> tuple[paddle.Tensor, Metrics]:
        process = scene.process
        landing = scene.landing.detach()
        level, begin = self.levels(scene)
        x = process.renoise(landing, scene.end, level, scene.normal())
        back = process.step(x, scene.by_student(x, level), begin, scene.end)
        return distance(self.config.loss, back, landing, self.config.huber_c), {}

    def levels(self, scene: Scene) -> tuple[paddle.Tensor, paddle.Tensor]:
        """To where the noise is added, and from where the jump goes down."""
        level = scene.between(scene.end, scene.start)
        return level, level
