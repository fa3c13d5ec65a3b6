"""A discriminator on the teacher's features, token by token, so that any size and aspect ratio will do.

Sauer et al. 2024, "Fast High-Resolution Image Synthesis with Latent Adversarial Diffusion Distillation", section 3,
with the hinge loss; within phases as in Wang et al. 2024, "Phased Consistency Models", section 3.3.
"""

from __future__ import annotations

import paddle
import paddle.nn.functional as F
from paddle import nn

from fastdiffusers.distillation.losses import number
from fastdiffusers.distillation.networks import Networks
from fastdiffusers.distillation.scene import Scene
from fastdiffusers.distillation.terms.head import Head
from fastdiffusers.distillation.terms.term import Metrics, Term
from fastdiffusers.training.task import ParameterGroup

HEADS = "heads"


class Adversarial(Term):
    """Real: data at the end of the phase. Fake: the student's landing there. Both are re-noised with the *same* noise
    to the same level within the phase, and the frozen teacher's features of both are judged."""

    weight_key = "adversarial_weight"

    def __init__(self, config: object, networks: Networks) -> None:
        super().__init__(config, networks)
        self.blocks = networks.places(self.config.adversarial_depths)
        self.heads = nn.LayerList([Head(width) for width in networks.widths(self.blocks)])

    def groups(self) -> list[ParameterGroup]:
        config = self.config
        parameters = {f"{HEADS}.{name}": p for name, p in self.heads.named_parameters()}
        scale = config.adversarial_lr / config.lr
        return [ParameterGroup(HEADS, parameters, lr_scale=scale, beta1=config.adversarial_beta1, averaged=False)]

    def loss(self, scene: Scene) -> tuple[paddle.Tensor, Metrics]:
        level = self.level(scene)
        fake = scene.process.renoise(scene.landing, scene.end, level, scene.normal())
        return -self._mean(self._logits(scene, fake, level)), {}

    def opponent_loss(self, scene: Scene) -> tuple[paddle.Tensor, Metrics]:
        level = self.level(scene)
        with paddle.no_grad():
            real, fake = self.pair(scene, level)
        told_real, told_fake = self._logits(scene, real, level), self._logits(scene, fake, level)
        loss = self._mean([F.relu(1 - told) for told in told_real]) + self._mean([F.relu(1 + t) for t in told_fake])
        right = [(told > 0).astype("float32") for told in told_real] + [(t < 0).astype("float32") for t in told_fake]
        return loss, {"d_loss": number(loss), "d_accuracy": number(self._mean(right))}

    def level(self, scene: Scene) -> paddle.Tensor:
        """Where the two are compared."""
        return scene.between(scene.end, scene.start)

    def pair(self, scene: Scene, level: paddle.Tensor) -> tuple[paddle.Tensor, paddle.Tensor]:
        """Real and fake at ``level``."""
        process, noise = scene.process, scene.normal()
        data = process.add_noise(scene.clean, scene.noise, scene.end)
        real, fake = (process.renoise(x, scene.end, level, noise) for x in (data, scene.landing))
        return real, fake

    def _logits(self, scene: Scene, x: paddle.Tensor, level: paddle.Tensor) -> list[paddle.Tensor]:
        features = self.networks.features(x, level, scene.teacher, self.blocks)
        return [head(feature) for head, feature in zip(self.heads, features, strict=True)]

    @staticmethod
    def _mean(logits: list[paddle.Tensor]) -> paddle.Tensor:
        return paddle.add_n([told.mean() for told in logits]) / len(logits)
