"""Consistency within phases: from every level of a phase the student jumps to the same place.

Song et al. 2023, "Consistency Models", eq. 10; Luo et al. 2023, "Latent Consistency Models", eq. 14 (one phase, with
guidance in the solver); Wang et al. 2024, "Phased Consistency Models", eq. 7 (M phases).
"""

from __future__ import annotations

import numpy as np
import paddle

from fastdiffusers.distillation.losses import distance
from fastdiffusers.distillation.networks import STUDENT, TARGET
from fastdiffusers.distillation.scene import Scene
from fastdiffusers.distillation.terms.term import Metrics, Term


class Consistency(Term):
    """d(f_θ(x_n, σ_n), sg f_θ(x̂_{n+k}, σ_{n+k})), where the teacher's k steps lead from x_n to x̂_{n+k}.

    Those are Φ(x_n, σ_n → σ_{n+1}; ṽ) and so on, not beyond the end of the phase; where the teacher's trajectories are
    known, they have been made. Skipping k > 1 levels (LCM, section 4.3) leaves less of the target to the student.

    f jumps to the end of the phase. In the form ``velocity`` the jump's prediction is compared in place of its landing,
    so that every level counts alike; for flows the target is v* = [Δσ·ṽ + (σ_{n+1} − s)·v_θ⁻]/(σ_n − s).
    """

    weight_key = "consistency_weight"

    def loss(self, scene: Scene) -> tuple[paddle.Tensor, Metrics]:
        config, process = self.config, scene.process
        goal = phase_target(scene, config.skip)
        if config.form == "x":
            return distance(config.loss, scene.landing, goal, config.huber_c), {}
        with paddle.no_grad():
            target = process.prediction_between(scene.x, scene.sigma, goal, scene.end)
        return distance(config.loss, scene.prediction, target, config.huber_c), {}


def phase_target(scene: Scene, skip: int = 1) -> paddle.Tensor:
    """Where the teacher's steps, and from there the jump of θ⁻ (the averaged student, where there is one), lead."""
    if skip not in scene.goals:
        scene.goals[skip] = _target(scene, skip)
    return scene.goals[skip]


@paddle.no_grad()
def _target(scene: Scene, skip: int) -> paddle.Tensor:
    process, networks = scene.process, scene.networks
    nearer, reached = solved(scene, skip)
    if (reached == scene.grid.end(scene.n)).all():
        return nearer
    role = TARGET if TARGET in networks.parameters else STUDENT
    level = scene.level(reached)
    predicted = networks.predict(role, nearer, level, scene.student)
    # at the phase's end the jump is the identity, whatever is predicted there
    return process.jump(nearer, predicted, level, scene.end)


@paddle.no_grad()
def solved(scene: Scene, skip: int) -> tuple[paddle.Tensor, np.ndarray]:
    """The teacher's state ``skip`` levels further, or at the end of the phase if that is nearer; and which level."""
    end = scene.grid.end(scene.n)
    reached = np.minimum(scene.n + skip, end)
    if scene.states is not None:
        return scene.kept(reached), reached
    x, at = scene.x, scene.n
    while (at < reached).any():
        to = np.minimum(at + 1, reached)
        level = scene.level(at)
        x, at = scene.process.step(x, scene.by_teacher(x, level), level, scene.level(to)), to
    return x, reached
