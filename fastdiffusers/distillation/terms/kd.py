"""Regression to cached trajectories: from each edge the student must jump to where the teacher's steps led.

Luhman & Luhman 2021, "Knowledge Distillation in Iterative Generative Models", section 3, for each phase.
"""

from __future__ import annotations

import paddle

from fastdiffusers.distillation.losses import distance
from fastdiffusers.distillation.scene import Scene
from fastdiffusers.distillation.terms.term import Metrics, Term


class Regression(Term):
    """d(v_θ(x_{s_m}), v*) with v* the prediction that goes from the teacher's state at one edge to that at the next;
    for flows (x_{s_m} − x_{s_{m+1}}) / (s_m − s_{m+1})."""

    weight_key = "kd_weight"

    def loss(self, scene: Scene) -> tuple[paddle.Tensor, Metrics]:
        edge = scene.rng.integers(scene.grid.phases, size=scene.count) * scene.grid.hop
        here, there = scene.kept(edge), scene.kept(edge + scene.grid.hop)
        level, end = scene.level(edge), scene.level(edge + scene.grid.hop)
        target = scene.process.prediction_between(here, level, there, end)
        return distance(self.config.loss, scene.by_student(here, level), target, self.config.huber_c), {}
