"""What a training carries from step to step: weights, their average, the optimisers' moments; cut up among workers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import paddle

from fastdiffusers.training import checkpoint
from fastdiffusers.training.adamw import AdamW
from fastdiffusers.training.ema import ExponentialMovingAverage
from fastdiffusers.training.gang import Gang, owners
from fastdiffusers.training.muon import Muon
from fastdiffusers.training.recipe import TrainerConfig
from fastdiffusers.training.schedule import learning_rate
from fastdiffusers.training.task import ParameterGroup

KINDS = ("first", "second", "count")  # what AdamW keeps of a parameter


class TrainingState:
    """Optimisers and moving average of the parameters that this worker owns."""

    def __init__(self, config: TrainerConfig, groups: list[ParameterGroup], gang: Gang) -> None:
        self.config, self.groups, self.gang = config, groups, gang
        self.parameters = {name: value for group in groups for name, value in group.parameters.items()}
        self._by_muon = {name for group in groups for name in group.muon} if config.muon else set()
        costs = {name: _cost(value, name in self._by_muon) for name, value in self.parameters.items()}
        owner = owners(costs, gang.size)
        self.owned = [name for name in self.parameters if owner[name] == gang.rank]
        self.muon, self.adamw = Muon(), AdamW(config.adam_beta2, config.adam_epsilon)
        self.updates = {group.name: 0 for group in groups}  # how many each group has taken
        self.averaged_parameters = {n: p for group in groups if group.averaged for n, p in group.parameters.items()}
        self.ema = ExponentialMovingAverage(config.ema, self._own_averaged())
        self._gradients: dict[str, paddle.Tensor] = {}

    def _own_averaged(self, groups: Iterable[ParameterGroup] | None = None) -> dict[str, paddle.Tensor]:
        mine = set(self.owned)
        return {
            name: value
            for group in (self.groups if groups is None else groups)
            if group.averaged
            for name, value in group.parameters.items()
            if name in mine
        }

    def gather_gradients(self, updates: frozenset[str] | None, weight: float) -> float:
        """Sum the workers' gradients of the groups in ``updates``; returns the norm over all parameters."""
        names = [name for group in self._active(updates) for name in group.parameters]
        local = {name: self.parameters[name].grad for name in names}
        if self.config.loss_scale != 1.0:
            local = {name: None if g is None else g / self.config.loss_scale for name, g in local.items()}
        mine = set(self.owned)
        self._gradients = self.gang.sum_gradients(local, weight, [name for name in names if name in mine])
        squares = [paddle.sum(gradient * gradient) for gradient in self._gradients.values()]
        square = float(paddle.add_n(squares).item()) if squares else 0.0
        return math.sqrt(total) if (total := float(self.gang.share([square]).sum())) >= 0 else math.nan

    def _active(self, updates: frozenset[str] | None) -> list[ParameterGroup]:
        return [group for group in self.groups if updates is None or group.name in updates]

    def drop_gradients(self) -> None:
        """Forget the gradients, the gathered and the local ones (after an update, or instead of one)."""
        self._gradients = {}
        for parameter in self.parameters.values():
            parameter.clear_gradient(False)

    def update(self, step: int, norm: float, updates: frozenset[str] | None = None) -> float:
        """One optimiser step of the groups in ``updates`` with the gathered gradients, clipped; returns the learning
        rate."""
        config = self.config
        rate = learning_rate(config, step)
        factor = min(1.0, config.clip / (norm + 1e-6)) if config.clip else 1.0
        gradients = {name: g * factor if factor < 1.0 else g for name, g in self._gradients.items()}
        with paddle.no_grad():
            for group in self._active(updates):
                decay = config.weight_decay if group.weight_decay is None else group.weight_decay
                own = {name: gradients[name] for name in group.parameters if name in gradients}
                by_muon = {name: g for name, g in own.items() if name in self._by_muon}
                by_adamw = {name: g for name, g in own.items() if name not in self._by_muon}
                beta1 = config.adam_beta1 if group.beta1 is None else group.beta1
                self.muon.update(group.parameters, by_muon, rate * group.lr_scale, decay)
                self.adamw.update(group.parameters, by_adamw, rate * group.lr_scale, decay, beta1)
                self.ema.update(self._own_averaged([group]), self.updates[group.name])
                self.updates[group.name] += 1
        self._spread(self.parameters, self.parameters)
        self.drop_gradients()
        return rate

    def tensors(self) -> dict[str, paddle.Tensor]:
        """Everything this worker puts into a checkpoint."""
        result = {f"weight/{name}": self.parameters[name] for name in self.owned}
        result.update({f"average/{name}": value for name, value in self.ema.average.items()})
        result.update({f"muon/{name}": value for name, value in self.muon.state().items()})
        result.update({f"adamw/{name}": value for name, value in self.adamw.state().items()})
        return result

    def load(self, path: Path, updates: Mapping[str, int]) -> None:
        """Take weights, average and moments from a checkpoint, made by any number of workers.

        ``updates`` is what the attribute of that name was then.

        Raises `WeightsError` if a part of it is missing.
        """
        owned = set(self.owned)
        weights = checkpoint.read_tensors(path, "weight")
        average = checkpoint.read_tensors(path, "average", owned)
        adamw = checkpoint.read_tensors(path, "adamw", owned)
        counted = {
            f"{kind}/{name.removeprefix('count/')}" for name in adamw if name.startswith("count/") for kind in KINDS
        }
        for kind, needed, found in (
            ("weight", self.parameters.keys(), weights.keys()),
            ("average", self._own_averaged().keys(), average.keys()),
            ("adamw", counted | adamw.keys(), counted & adamw.keys()),
        ):
            if missing := sorted(needed - found):
                raise checkpoint.damaged(path, f"{len(missing)} tensors are missing, as '{kind}/{missing[0]}'")
        with paddle.no_grad():
            for name, parameter in self.parameters.items():
                parameter.set_value(weights[name])
        self.ema.load(average)
        self.updates = dict(updates)
        self.muon.load(checkpoint.read_tensors(path, "muon", owned))
        self.adamw.load(adamw)

    @contextmanager
    def averaged_weights(self) -> Iterator[None]:
        """Every worker's networks hold the moving average while this is open (no change if ema is 0)."""
        if not self.config.ema:
            yield
            return
        kept = {name: value.detach().clone() for name, value in self.averaged_parameters.items()}
        with paddle.no_grad():
            for name, value in self.ema.average.items():
                self.parameters[name].set_value(value)
        self._spread(self.ema.average, self.averaged_parameters)
        try:
            yield
        finally:
            with paddle.no_grad():
                for name, value in kept.items():
                    self.parameters[name].set_value(value)

    def _spread(self, values: Mapping[str, paddle.Tensor], names: Iterable[str]) -> None:
        """Give every worker the others' values of the parameters ``names``; its own are in ``values``."""
        if self.gang.size == 1:
            return
        owned = set(self.owned)
        self.gang.publish({name: value for name, value in values.items() if name in owned})
        self.gang.wait()
        for name in names:
            parameter = self.parameters[name]
            if name not in owned:
                parameter.set_value(self.gang.fetch(name))
        self.gang.wait()


def _cost(value: paddle.Tensor, muon: bool) -> float:
    """Rough work of an update: memory traffic, and for Muon the products of Newton-Schulz."""
    size = math.prod(value.shape)
    if not muon:
        return 30.0 * size
    rows = int(value.shape[0])
    short, long = sorted((rows, size // rows))
    return 30.0 * size + 5 * (4.0 * short * short * long + 2.0 * short**3) / 50.0
