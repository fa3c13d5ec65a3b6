"""Consistency within phases: from every level of a phase the student jumps to the same place.

Song et al. 2023, "Consistency Models", eq. 10; Luo et al. 2023, "Latent Consistency Models", eq. 14 (one phase, with
guidance in the solver); Wang et al. 2024, "Phased Consistency Models", eq. 7 (M phases).
"""

from __future__ import annotations

import paddle

from fastdiffusers.distillation.losses import distance
from fastdiffusers.distillation.networks import STUDENT, TARGET
from fastdiffusers.distillation.scene import Scene
from fastdiffusers.distillation.terms.term import Metrics, Term


class Consistency(Term):
    """d(f_θ(x_n, σ_n), sg f_θ(x̂_{n+1}, σ_{n+1})), where x̂_{n+1} = Φ(x_n, σ_n → σ_{n+1}; ṽ) is the teacher's step.

    f jumps to the end of the phase. In the form ``velocity`` the jump's prediction is compared in place of its landing,
    so that every level counts alike; for flows the target is v* = [Δσ·ṽ + (σ_{n+1} − s)·v_θ⁻]/(σ_n − s).
    """

    weight_key = "consistency_weight"

    def loss(self, scene: Scene) -> tuple[paddle.Tensor, Metrics]:
        config, process = self.config, scene.process
        goal = phase_target(scene)
        if config.form == "x":
            return distance(config.loss, scene.landing, goal, config.huber_c), {}
        with paddle.no_grad():
            target = process.prediction_between(scene.x, scene.sigma, goal, scene.end)
        return distance(config.loss, scene.prediction, target, config.huber_c), {}


@paddle.no_grad()
def phase_target(scene: Scene) -> paddle.Tensor:
    """Where the teacher's step, and from there the jump of θ⁻ (the averaged student, where there is one), lead."""
    process, networks = scene.process, scene.networks
    nearer = process.step(scene.x, scene.by_teacher(scene.x, scene.sigma), scene.sigma, scene.following)
    role = TARGET if TARGET in networks.parameters else STUDENT
    jump = networks.predict(role, nearer, scene.following, scene.student)
    # at the phase's end the jump is the identity, whatever is predicted there
    return process.step(nearer, jump, scene.following, scene.end)
