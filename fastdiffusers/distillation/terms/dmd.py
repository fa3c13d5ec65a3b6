"""Distribution matching: the student's pictures are moved to where the teacher finds them likelier than a fake score.

Yin et al. 2024, "One-step Diffusion with Distribution Matching Distillation", eq. 7 and 8, and "Improved Distribution
Matching Distillation", section 4: grad = (μ_fake − μ_real) / mean|x̂ − μ_real|, both denoised from the re-noised
picture x̂_t, the mean taken per sample.
"""

from __future__ import annotations

import numpy as np
import paddle

from fastdiffusers.distillation.losses import number
from fastdiffusers.distillation.networks import CRITIC, STUDENT, Networks
from fastdiffusers.distillation.scene import LEAST_SHARE, Scene
from fastdiffusers.distillation.simulation import simulate
from fastdiffusers.distillation.terms.critic_gan import CriticGan
from fastdiffusers.distillation.terms.term import Metrics, Term
from fastdiffusers.training.task import ParameterGroup

GUARD = 1e-5


class DistributionMatching(Term):
    """½‖x̂ − sg(x̂ − grad)‖² on what the student made: its landing at the end of the phase, compared within the phase
    (``dmd_on: phase``), or its whole estimate x̂₀, compared at all levels (``dmd_on: clean``, DMD2).

    The fake score is the student itself (``dmd_critic: false``, as FLUX-Lightning has it), or a second adapter that is
    trained to have the score of what the student makes. A discriminator may look at that one's features.
    """

    weight_key = "dmd_weight"
    factor = 0.5

    def __init__(self, config: object, networks: Networks) -> None:
        super().__init__(config, networks)
        self.role = CRITIC if self.config.dmd_critic else STUDENT
        self.gan: CriticGan | None = None
        if self.config.dmd_critic_full:
            networks.copy_teacher(CRITIC)
        elif self.config.dmd_critic:
            networks.add_adapter(CRITIC, self.config.rank, self.config.alpha, self.config.seed + 1)
        if self.config.dmd_gan_weight:
            self.gan = CriticGan(networks, self.config.dmd_gan_depth)

    def groups(self) -> list[ParameterGroup]:
        if self.role != CRITIC:
            return []
        config = self.config
        parameters = self.networks.parameters[CRITIC]
        if self.gan is not None:
            parameters = {**parameters, **self.gan.parameters}
        return [ParameterGroup(CRITIC, parameters, lr_scale=config.dmd_critic_lr / config.lr, averaged=False)]

    def loss(self, scene: Scene) -> tuple[paddle.Tensor, Metrics]:
        scene = self.staged(scene)
        made, end = self.made(scene)
        gradient, metrics = self.gradient(scene, made.detach(), end)
        loss = self.factor * ((made - (made.detach() - gradient)) ** 2).mean()
        metrics = {"dmd_gradient": number(gradient.abs().mean()), **metrics}
        if self.gan is not None:
            told = self.gan.loss(scene, made, end, self.level(scene))
            loss = loss + self.config.dmd_gan_weight * told
            metrics["gan"] = number(told)
        return loss, metrics

    def staged(self, scene: Scene) -> Scene:
        """The scene in which the student acts: at noised data, or where its own drawing led."""
        if not self.config.dmd_simulation:
            return scene
        return simulate(scene, self.config.drawn_steps, self.config.sampler)

    def made(self, scene: Scene) -> tuple[paddle.Tensor, paddle.Tensor]:
        """What the student made, x̂, and the level it is at."""
        if self.config.dmd_on == "phase":
            return scene.landing, scene.end
        clean = scene.process.clean_from(scene.x, scene.prediction, scene.sigma)
        return clean, paddle.full([scene.count], scene.process.clean_level)  # a grid's last level may have noise

    @paddle.no_grad()
    def gradient(self, scene: Scene, made: paddle.Tensor, end: paddle.Tensor) -> tuple[paddle.Tensor, dict[str, float]]:
        """(μ_fake − μ_real) / mean|x̂₀ − μ_real|, of x̂'s shape; the mean is taken for each sample.

        Of a critic also by how much better than the teacher it denoises what the student makes: 1 − ‖x̂₀ − μ_fake‖² /
        ‖x̂₀ − μ_real‖². One that keeps up is above 0.
        """
        process = scene.process
        level = self.level(scene)
        x = process.renoise(made, end, level, scene.normal())
        fake = process.clean_from(x, self.networks.predict(self.role, x, level, scene.student), level)
        real = process.clean_from(x, scene.by_teacher(x, level), level)
        clean = process.clean_from(scene.x, scene.prediction, scene.sigma)
        metrics = {}
        if self.role == CRITIC:
            theirs, own = (number(((clean - mean) ** 2).mean()) for mean in (real, fake))
            metrics["critic_gap"] = 1 - own / max(theirs, GUARD**2)
        return (fake - real) / mean_distance(clean, real), metrics

    def opponent_loss(self, scene: Scene) -> tuple[paddle.Tensor, Metrics]:
        """Score matching on what the student made, which is noisy itself within a phase; on x̂₀ the process's loss."""
        process = scene.process
        scene = self.staged(scene)
        with paddle.no_grad():
            made, end = self.made(scene)
            level, noise = self.level(scene), scene.normal()
            x = process.renoise(made, end, level, noise)
            weight, target = process.score_target(made, end, level, noise)
        error = weight * self.networks.predict(CRITIC, x, level, scene.student) - target
        loss = (error * error).mean()
        metrics = {"critic_loss": number(loss)}
        if self.gan is not None:
            told, found = self.gan.opponent_loss(scene, made, end, self.level(scene))
            loss = loss + self.config.dmd_gan_critic_weight * told
            metrics.update(found)
        return loss, metrics

    def level(self, scene: Scene) -> paddle.Tensor:
        """Where the scores are compared: within the phase, or anywhere on the (shifted) way down."""
        if self.config.dmd_on == "phase":
            return scene.between(scene.end, scene.start)
        share = scene.rng.uniform(LEAST_SHARE, 1 - LEAST_SHARE, scene.count) * scene.grid.steps
        levels = np.interp(share, np.arange(scene.grid.steps + 1), scene.grid.levels).astype(np.float32)
        return scene.process.nearest(paddle.to_tensor(levels))


def mean_distance(a: paddle.Tensor, b: paddle.Tensor) -> paddle.Tensor:
    """mean|a − b| of each sample ``[B, 1, …]``, never quite zero."""
    return (a - b).abs().mean(axis=list(range(1, a.ndim)), keepdim=True) + GUARD
