"""AdamW (Loshchilov and Hutter, 2019), with a state that can be cut by parameter and written to safetensors."""

from __future__ import annotations

from collections.abc import Mapping

import paddle

BETA2, EPSILON = 0.99, 1e-8


class AdamW:
    """Each parameter counts its own steps, so that a group that rests for a while is corrected rightly."""

    def __init__(self, beta2: float = BETA2, epsilon: float = EPSILON) -> None:
        self.beta2, self.epsilon = beta2, epsilon
        self.first: dict[str, paddle.Tensor] = {}
        self.second: dict[str, paddle.Tensor] = {}
        self.count: dict[str, int] = {}

    def update(
        self,
        parameters: Mapping[str, paddle.Tensor],
        gradients: Mapping[str, paddle.Tensor],
        lr: float,
        weight_decay: float,
        beta1: float = 0.9,
    ) -> None:
        """Change ``parameters`` in place; the decay touches matrices and convolutions, not norms and biases."""
        beta2 = self.beta2
        for name, gradient in gradients.items():
            parameter = parameters[name]
            count = self.count.get(name, 0) + 1
            first, second = (1 - beta1) * gradient, (1 - beta2) * gradient * gradient
            if count > 1:
                first, second = beta1 * self.first[name] + first, beta2 * self.second[name] + second
            self.first[name], self.second[name], self.count[name] = first, second, count
            scale = paddle.sqrt(second / (1 - beta2**count)) + self.epsilon
            kept = parameter * (1.0 - lr * weight_decay) if weight_decay and parameter.ndim > 1 else parameter
            paddle.assign(kept - (lr / (1 - beta1**count)) * first / scale, parameter)

    def state(self) -> dict[str, paddle.Tensor]:
        """Moments and step counts by ``first/NAME``, ``second/NAME``, ``count/NAME``."""
        state = {f"first/{name}": value for name, value in self.first.items()}
        state.update({f"second/{name}": value for name, value in self.second.items()})
        state.update({f"count/{name}": paddle.to_tensor([n], dtype="int64") for name, n in self.count.items()})
        return state

    def load(self, state: Mapping[str, paddle.Tensor]) -> None:
        """Take back what `state` gave."""
        parts: dict[str, dict[str, paddle.Tensor]] = {"first": {}, "second": {}, "count": {}}
        for key, value in state.items():
            kind, _, name = key.partition("/")
            parts[kind][name] = value
        self.first, self.second = parts["first"], parts["second"]
        self.count = {name: int(value[0].item()) for name, value in parts["count"].items()}
