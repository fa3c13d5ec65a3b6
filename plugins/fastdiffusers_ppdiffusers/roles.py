"""Teacher, student and averaged student of a latent consistency distillation, as UNets of ppdiffusers.

What `fastdiffusers.distillation.networks.Networks` is for FLUX: terms ask ``predict`` for a role's prediction. The
student is trained in full, and is told the guidance weight w by an embedding that the teacher does not have (Meng et
al. 2023, "On Distillation of Guided Diffusion Models", section 3).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import paddle

from fastdiffusers.distillation.networks import STUDENT, TARGET, TEACHER

EMBEDDING = "time_embedding.cond_proj.weight"


@dataclass(frozen=True)
class UNetConditions:
    """What a UNet is told beside latents and timestep.

    Attributes:
        text: ``[B, T, J]``.
        guidance: w ``[B]``, in guidance scales from 1; None for a network that is not told.
        added: SDXL's ``text_embeds`` ``[B, P]`` and ``time_ids`` ``[B, 6]``; empty for SD1.5.
    """

    text: paddle.Tensor
    guidance: paddle.Tensor | None = None
    added: Mapping[str, paddle.Tensor] = field(default_factory=dict)

    def untexted(self, text: paddle.Tensor) -> UNetConditions:
        """The same with the empty caption's embeddings, ``[1, T, J]``, for all, and told no guidance."""
        return replace(self, text=text.expand([self.text.shape[0], -1, -1]), guidance=None)


class UNetNetworks:
    """The roles. ``teacher`` is frozen; student and averaged student begin as it, but for the embedding of w.

    Args:
        teacher: a UNet2DConditionModel of ppdiffusers.
        width: of the embedding of w.
        seed: of the weights that it is projected with.
    """

    def __init__(self, teacher: Any, width: int = 256, seed: int = 0) -> None:
        self.teacher, self.width = teacher, width
        self._roles = {TEACHER: teacher, STUDENT: self._copy(), TARGET: self._copy()}
        paddle.seed(seed)
        start = paddle.randn(self._roles[STUDENT].time_embedding.cond_proj.weight.shape) / math.sqrt(width)
        for network in self._roles.values():
            network.eval()  # no dropout: teacher and student see the same
        for role in (STUDENT, TARGET):
            self._roles[role].time_embedding.cond_proj.weight.set_value(start)
        for network in (teacher, self._roles[TARGET]):
            for parameter in network.parameters():
                parameter.stop_gradient = True
        self.parameters = {
            role: {f"{role}.{name}": value for name, value in self._roles[role].named_parameters()}
            for role in (STUDENT, TARGET)
        }

    def _copy(self) -> Any:
        """A network like the teacher that is told w."""
        config = {**dict(self.teacher.config), "time_cond_proj_dim": self.width}
        made = type(self.teacher).from_config(config)
        own = made.state_dict()
        for name, value in self.teacher.state_dict().items():
            own[name].set_value(value)
        return made

    def network(self, role: str) -> Any:
        """The UNet of ``role``."""
        return self._roles[role]

    def predict(self, role: str, x: paddle.Tensor, level: paddle.Tensor, conditions: UNetConditions) -> paddle.Tensor:
        """What the network of ``role`` predicts of ``x`` at the timesteps ``level``."""
        more: dict[str, Any] = {}
        if role != TEACHER and conditions.guidance is not None:
            more["timestep_cond"] = guidance_embedding(conditions.guidance, self.width)
        if conditions.added:
            more["added_cond_kwargs"] = dict(conditions.added)
        network = self._roles[role]
        return network(x, level, encoder_hidden_states=conditions.text, return_dict=False, **more)[0]

    @paddle.no_grad()
    def follow(self, decay: float) -> None:
        """θ⁻ ← decay·θ⁻ + (1 − decay)·θ."""
        for name, average in self.parameters[TARGET].items():
            own = self.parameters[STUDENT][STUDENT + name.removeprefix(TARGET)]
            average.set_value(decay * average + (1.0 - decay) * own)


def guidance_embedding(w: paddle.Tensor, width: int) -> paddle.Tensor:
    """Sines, then cosines, of 1000·w at ``width``/2 frequencies from 1 down to 1/10000: ``[B, width]``."""
    half = width // 2
    frequencies = paddle.exp(-math.log(10000.0) * paddle.arange(half, dtype="float32") / (half - 1))
    angles = (1000.0 * w).unsqueeze(1) * frequencies.unsqueeze(0)
    return paddle.concat([paddle.sin(angles), paddle.cos(angles)], axis=1)
