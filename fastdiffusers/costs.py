"""What a FLUX transformer costs, from its configuration alone: weights, arithmetic and memory. No Paddle, no weights.

Counted are products of matrices, two operations for each multiply-add, as everybody counts; norms, activations and
rotations are left out, 0.2 % of FLUX.1 at 1024 pixels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fastdiffusers.accelerator import Setting
from fastdiffusers.errors import InputError
from fastdiffusers.models.info import ModelInfo
from fastdiffusers.weights.layout import read_json

BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
SINUSOID = 256  # channels of the embedding of time and guidance


@dataclass(frozen=True)
class Shape:
    """The numbers of a transformer's configuration that decide what it costs."""

    dim: int
    head_dim: int
    doubles: int
    singles: int
    channels_in: int
    channels_out: int
    text_dim: int
    pooled_dim: int
    guidance: bool

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Shape:
        """From ``transformer/config.json``."""
        head_dim, channels = int(config["attention_head_dim"]), int(config["in_channels"])
        return cls(
            dim=int(config["num_attention_heads"]) * head_dim,
            head_dim=head_dim,
            doubles=int(config["num_layers"]),
            singles=int(config["num_single_layers"]),
            channels_in=channels,
            channels_out=int(config.get("out_channels") or channels) * int(config.get("patch_size", 1)) ** 2,
            text_dim=int(config["joint_attention_dim"]),
            pooled_dim=int(config["pooled_projection_dim"]),
            guidance=bool(config.get("guidance_embeds")),
        )

    def parameters(self) -> int:
        """Number of weights, biases and norms included."""
        d, h = self.dim, self.head_dim
        stream = _linear(d, 3 * d) + _linear(d, d) + _linear(d, 4 * d) + _linear(4 * d, d) + _linear(d, 6 * d) + 2 * h
        single = _linear(d, 3 * d) + _linear(d, 4 * d) + _linear(5 * d, d) + _linear(d, 3 * d) + 2 * h
        embedded = (_linear(SINUSOID, d) + _linear(d, d)) * (2 if self.guidance else 1)
        embedded += _linear(self.pooled_dim, d) + _linear(d, d)
        ends = _linear(self.channels_in, d) + _linear(self.text_dim, d) + _linear(d, 2 * d)
        return self.doubles * 2 * stream + self.singles * single + embedded + ends + _linear(d, self.channels_out)

    def evaluation_flops(self, image: int, text: int) -> int:
        """Floating-point operations of one evaluation for ``image`` and ``text`` tokens, one picture."""
        d, joint = self.dim, image + text
        attention = 4 * joint * joint * d
        double = 2 * (12 * d * d * joint + 12 * d * d) + attention
        single = 2 * (12 * d * d * joint + 3 * d * d) + attention
        embedded = (SINUSOID * d + d * d) * (2 if self.guidance else 1) + self.pooled_dim * d + d * d
        ends = image * d * (self.channels_in + self.channels_out) + text * self.text_dim * d + 2 * d * d
        return self.doubles * double + self.singles * single + 2 * (embedded + ends)


@dataclass(frozen=True)
class Costs:
    """What a run costs; ``latency`` needs to be told what the machine does.

    Attributes:
        parameters: weights of each part.
        image_tokens, text_tokens: of one picture.
        evaluations: of the transformer, both branches of true guidance counted.
        flops: of one evaluation, all pictures of the batch.
        activations: elements held at once within a block, all pictures; attention's scores not among them.
    """

    parameters: Mapping[str, int]
    image_tokens: int
    text_tokens: int
    evaluations: int
    flops: int
    activations: int

    @property
    def total_flops(self) -> int:
        """Of all evaluations."""
        return self.flops * self.evaluations

    def latency(self, flops_per_second: float) -> float:
        """Seconds for all evaluations on a machine that does so many operations in a second."""
        return self.total_flops / flops_per_second

    def to_dict(self) -> dict[str, Any]:
        """For JSON; bytes are given for each dtype."""
        weights = sum(self.parameters.values())
        return {
            "parameters": dict(self.parameters),
            "image_tokens": self.image_tokens,
            "text_tokens": self.text_tokens,
            "evaluations": self.evaluations,
            "flops_per_evaluation": self.flops,
            "flops": self.total_flops,
            "weights_bytes": {name: size * weights for name, size in BYTES.items()},
            "activations_bytes": {name: size * self.activations for name, size in BYTES.items()},
        }


def costs_of(info: ModelInfo, setting: Setting) -> Costs:
    """The costs of drawing with ``setting``; an `InputError` for a model of another family than FLUX."""
    if info.family != "flux":
        raise InputError(f"costs are known for the family 'flux', {info.name} is of {info.family!r}")
    shape = Shape.of(info.transformer)
    image = info.tokens(setting.height, setting.width)
    text = text_tokens(info)
    steps = setting.steps if setting.strength is None else max(1, round(setting.steps * setting.strength))
    return Costs(
        parameters=info.parameters(),
        image_tokens=image,
        text_tokens=text,
        evaluations=steps * (2 if setting.true_cfg_scale > 1 else 1),
        flops=setting.batch * shape.evaluation_flops(image, text),
        # a block's input, output, modulated copy, queries, keys and values, and the MLP's four wide ones, twice
        activations=setting.batch * 16 * (image + text) * shape.dim,
    )


def text_tokens(info: ModelInfo) -> int:
    """Number of text tokens that the transformer sees."""
    length = read_json(info.path / "tokenizer_2" / "tokenizer_config.json").get("model_max_length", 512)
    return int(length) if isinstance(length, int) and 0 < length < 100_000 else 512


def _linear(inputs: int, outputs: int) -> int:
    return inputs * outputs + outputs
