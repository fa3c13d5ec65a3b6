"""What a training picture costs at 96 and at 128 px: the probe by which the embedded model's size was chosen.

``python benchmarks/embedded/sizes.py [--rounds 4]`` prints pictures per second of one thread, forward and backward, for
the transformer (36 and 64 image tokens) and the autoencoder, the two sizes in turn; medians over the rounds.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable

from fastdiffusers.environment import prepare

prepare(threads=1)

import numpy as np  # noqa: E402
import paddle  # noqa: E402

from fastdiffusers.models.autoencoder_kl import AutoencoderKL  # noqa: E402
from fastdiffusers.models.transformer_flux import FluxTransformer2DModel  # noqa: E402
from fastdiffusers.zoo.pretrain.flux import FluxConfig  # noqa: E402
from fastdiffusers.zoo.pretrain.latents import image_ids  # noqa: E402

TEXT_TOKENS = 16
CHANNELS = (16, 32, 64, 128)


def transformer_step(side: int, batch: int = 24) -> Callable[[], None]:
    """One forward and backward pass of the recipe's transformer for pictures of ``side`` pixels."""
    recipe = FluxConfig()
    model = FluxTransformer2DModel(
        FluxTransformer2DModel.Config(
            in_channels=64,
            num_layers=recipe.num_layers,
            num_single_layers=recipe.num_single_layers,
            attention_head_dim=sum(recipe.axes_dims_rope),
            num_attention_heads=recipe.heads,
            joint_attention_dim=recipe.t5_width,
            pooled_projection_dim=256,
            guidance_embeds=True,
            axes_dims_rope=recipe.axes_dims_rope,
        )
    )
    cells = side // 8
    rope = model.rope(np.zeros((TEXT_TOKENS, 3), np.float32), image_ids(cells, cells))
    wide = tuple(part.expand([batch, -1, recipe.heads, -1]).contiguous() for part in rope)
    x, text = paddle.randn([batch, cells * cells // 4, 64]), paddle.randn([batch, TEXT_TOKENS, recipe.t5_width])
    pooled, sigma, guidance = paddle.randn([batch, 256]), paddle.rand([batch]), paddle.ones([batch])
    forward = paddle.jit.to_static(model.forward, full_graph=True)

    def step() -> None:
        paddle.mean(forward(x, text, pooled, sigma, wide, guidance) ** 2).backward()
        for parameter in model.parameters():
            parameter.clear_gradient(False)

    return step


def autoencoder_step(side: int, batch: int = 8) -> Callable[[], None]:
    """One forward and backward pass of the recipe's autoencoder."""
    vae = AutoencoderKL(
        AutoencoderKL.Config(
            block_out_channels=CHANNELS,
            down_block_types=("DownEncoderBlock2D",) * len(CHANNELS),
            up_block_types=("UpDecoderBlock2D",) * len(CHANNELS),
            layers_per_block=1,
            latent_channels=16,
            norm_num_groups=8,
            use_quant_conv=False,
            use_post_quant_conv=False,
        )
    )
    pictures = paddle.randn([batch, 3, side, side])

    def step() -> None:
        paddle.mean((vae(pictures) - pictures) ** 2).backward()
        for parameter in vae.parameters():
            parameter.clear_gradient(False)

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=4)
    rounds = parser.parse_args().rounds
    steps = {
        ("transformer", 96): (transformer_step(96), 24),
        ("transformer", 128): (transformer_step(128), 24),
        ("autoencoder", 96): (autoencoder_step(96), 8),
        ("autoencoder", 128): (autoencoder_step(128), 8),
    }
    seconds: dict[tuple[str, int], list[float]] = {name: [] for name in steps}
    for turn in range(rounds + 1):
        for name, (step, _) in steps.items():
            began = time.perf_counter()
            step()
            if turn:  # the first round warms up
                seconds[name].append(time.perf_counter() - began)
    rates = {name: batch / statistics.median(seconds[name]) for name, (_, batch) in steps.items()}
    result = {f"{part} {side} px, pictures/s": round(rate, 2) for (part, side), rate in rates.items()}
    for part in ("transformer", "autoencoder"):
        result[f"{part} 128 px costs"] = round(rates[part, 96] / rates[part, 128], 2)
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
