"""Distances between pictures of one prompt: the student's must be as far apart as the teacher's of the same noise.

Park et al. 2019, "Relational Knowledge Distillation", eq. 4 to 7 (distance-wise), with one μ, the teacher's, for both
sides. A student trained on squared errors answers with means, whose distances are too small by the variance that it
cannot explain; scaled by its own mean distance it would not notice.
"""

from __future__ import annotations

import numpy as np
import paddle
import paddle.nn.functional as F

from fastdiffusers.distillation.losses import number
from fastdiffusers.distillation.scene import Scene
from fastdiffusers.distillation.terms.consistency import phase_target
from fastdiffusers.distillation.terms.term import Metrics, Term
from fastdiffusers.errors import InputError

TINY = 1e-12
"""The least squared distance, where its root has a slope still."""


class Relational(Term):
    """Mean over pairs of l_δ(‖x̂₀ⁱ − x̂₀ʲ‖/μ − ‖yⁱ − yʲ‖/μ), the Huber distance with δ = 1.

    x̂₀ is the clean latent that the student's jump aims at, y that of a jump which lands where consistency wants it.
    Pairs are those of ``seeds_per_prompt`` examples in a row, and μ is the mean of ‖yⁱ − yʲ‖ over all that a process
    has: of several processes each has its own.
    """

    weight_key = "relational_weight"

    def loss(self, scene: Scene) -> tuple[paddle.Tensor, Metrics]:
        pairs = pairs_of(scene.count, self.config.seeds_per_prompt)
        process = scene.process
        own = process.clean_from(scene.x, scene.prediction, scene.sigma)
        with paddle.no_grad():
            goal = phase_target(scene, self.config.skip)
            aim = process.prediction_between(scene.x, scene.sigma, goal, scene.end)
            theirs = distances(process.clean_from(scene.x, aim, scene.sigma), pairs)
            mean = theirs.mean()
        found = distances(own, pairs)
        loss = F.smooth_l1_loss(found / mean, theirs / mean)
        return loss, {"apart": number(found.mean() / mean)}


def pairs_of(count: int, group: int) -> np.ndarray:
    """Every two examples of the same prompt, of which there are ``group`` in a row: int64 ``[2, P]``.

    Raises `InputError` if ``count`` is no multiple of ``group``, so that a prompt's examples are not all here.
    """
    if count % group:
        raise InputError(
            f"a process has {count} examples of a batch, and the term relational compares {group} of each prompt "
            f"(seeds_per_prompt); valid is a multiple of {group} for every process"
        )
    first, second = np.triu_indices(group, 1)
    starts = np.arange(0, count, group)[:, None]
    return np.stack([(starts + first).reshape(-1), (starts + second).reshape(-1)])


def distances(x: paddle.Tensor, pairs: np.ndarray) -> paddle.Tensor:
    """‖xⁱ − xʲ‖₂ over all that an example has, ``[P]``."""
    flat = x.reshape([len(x), -1])
    first, second = (paddle.gather(flat, paddle.to_tensor(side)) for side in pairs)
    return ((first - second) ** 2).sum(axis=1).clip(min=TINY).sqrt()
