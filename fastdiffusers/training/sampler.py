"""The order in which examples are seen: a function of the seed and of a position, and of nothing else."""

from __future__ import annotations

import numpy as np

from fastdiffusers.errors import InputError


class EpochSampler:
    """Every epoch sees every example once, in its own order; groups of ``group`` in a row stay together.

    Position ``p`` is the number of examples drawn before; any position can be asked for, so resuming needs no replay.
    """

    def __init__(self, examples: int, seed: int, group: int = 1) -> None:
        if examples < 1:
            raise InputError(f"there are {examples} examples to train on; at least 1 is needed")
        if examples % group:
            raise InputError(
                f"{examples} examples are no multiple of {group}, which stay together; valid are "
                f"{max(examples // group, 1) * group}, {(examples // group + 1) * group} …"
            )
        self.examples = examples
        self.seed = seed
        self.group = group
        self._epoch = -1
        self._order = np.empty(0, dtype=np.int64)

    def rows(self, position: int, count: int) -> np.ndarray:
        """Indices of ``count`` examples from ``position`` on: int64 ``[count]``."""
        parts = []
        while count > 0:
            epoch, start = divmod(position, self.examples)
            if epoch != self._epoch:
                groups = np.random.default_rng([self.seed, 1, epoch]).permutation(self.examples // self.group)
                self._order = (groups[:, None] * self.group + np.arange(self.group)).reshape(-1)
                self._epoch = epoch
            part = self._order[start : start + count]
            parts.append(part)
            position += len(part)
            count -= len(part)
        return np.concatenate(parts)


def share(batch: int, group: int, size: int, rank: int) -> np.ndarray:
    """The places of a batch that one of ``size`` processes takes, as even as whole groups of ``group`` allow: int64."""
    groups = np.array_split(np.arange(batch // group), size)[rank]
    return (groups[:, None] * group + np.arange(group)).reshape(-1)


def step_rng(seed: int, step: int, rank: int) -> np.random.Generator:
    """The generator of one worker for one step; chance never depends on what was drawn before, so resuming is exact."""
    return np.random.default_rng([seed, 2, step, rank])
