"""A discriminator on the features of the critic, which sees real and made pictures at the same noise.

Yin et al. 2024, "Improved Distribution Matching Distillation", section 4.3: a head on the fake score's network is
trained together with it; the losses are the non-saturating ones, softplus(∓logit).
"""

from __future__ import annotations

import paddle
import paddle.nn.functional as F

from fastdiffusers.distillation.losses import number
from fastdiffusers.distillation.networks import CRITIC, Networks
from fastdiffusers.distillation.scene import Scene
from fastdiffusers.distillation.terms.head import Head


class CriticGan:
    """A head on the image tokens in the middle of the critic, one logit for each token.

    Args:
        depth: share of the blocks that tokens have gone through.
    """

    def __init__(self, networks: Networks, depth: float) -> None:
        self.networks = networks
        self.blocks = networks.places((depth,))
        (width,) = networks.widths(self.blocks)
        self.head = Head(width)
        self.parameters = {f"{CRITIC}.gan.{name}": value for name, value in self.head.named_parameters()}

    def loss(self, scene: Scene, made: paddle.Tensor, end: paddle.Tensor, level: paddle.Tensor) -> paddle.Tensor:
        """The student's: mean softplus(−D(x̂_t)), x̂ at ``end`` taken up to ``level``."""
        x = scene.process.renoise(made, end, level, scene.normal())
        return F.softplus(-self._logits(scene, x, level)).mean()

    def opponent_loss(
        self, scene: Scene, made: paddle.Tensor, end: paddle.Tensor, level: paddle.Tensor
    ) -> tuple[paddle.Tensor, dict[str, float]]:
        """The critic's and the head's: mean softplus(D(x̂_t)) + softplus(−D(x_t)), at the same level and noise."""
        process, noise = scene.process, scene.normal()
        with paddle.no_grad():
            data = process.add_noise(scene.clean, scene.noise, end)
            real, fake = (process.renoise(x, end, level, noise) for x in (data, made))
        real, fake = (self._logits(scene, x, level) for x in (real, fake))
        loss = F.softplus(fake).mean() + F.softplus(-real).mean()
        right = [(told > 0).astype("float32").mean() for told in (real, -fake)]
        return loss, {"d_loss": number(loss), "d_accuracy": number(paddle.add_n(right)) / 2}

    def _logits(self, scene: Scene, x: paddle.Tensor, level: paddle.Tensor) -> paddle.Tensor:
        (tokens,) = self.networks.features(x, level, scene.student, self.blocks, CRITIC)
        return self.head(tokens)
