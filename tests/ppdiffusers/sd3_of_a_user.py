"""A StableDiffusion3Pipeline as a user builds one: by ppdiffusers' own classes, without fastdiffusers."""

import json
from pathlib import Path

import numpy as np
import paddle


def build(folder):
    """The tiny model in ``folder``, its texts given as embeddings."""
    import ppdiffusers

    paddle.seed(0)
    parts = {
        "transformer": ppdiffusers.SD3Transformer2DModel,
        "vae": ppdiffusers.AutoencoderKL,
    }
    layers = {
        name: kind.from_config(json.loads((Path(folder) / name / "config.json").read_text()))
        for name, kind in parts.items()
    }
    for layer in layers.values():
        layer.eval()
    nothing = dict.fromkeys(f"{part}{i}" for part in ("text_encoder", "tokenizer") for i in ("", "_2", "_3"))
    scheduler = ppdiffusers.FlowMatchEulerDiscreteScheduler(shift=3.0)
    pipe = ppdiffusers.StableDiffusion3Pipeline(**layers, **nothing, scheduler=scheduler)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def draw_with(pipe):
    """``draw(**arguments)`` as the contract kit wants it: texts become embeddings, a seed becomes latents."""

    def draw(prompt, seed, num_inference_steps, height, width, num_images_per_prompt=1, guidance_scale=4.0):
        rng = np.random.default_rng([*prompt.encode()])
        copies = num_images_per_prompt
        texts = {
            "prompt_embeds": rng.standard_normal((1, 6, 40)),
            "pooled_prompt_embeds": rng.standard_normal((1, 32)),
            "negative_prompt_embeds": rng.standard_normal((1, 6, 40)),
            "negative_pooled_prompt_embeds": rng.standard_normal((1, 32)),
        }
        noise = np.random.default_rng(seed).standard_normal((copies, 4, height // 2, width // 2))
        tensors = {name: paddle.to_tensor(np.repeat(v, copies, 0).astype(np.float32)) for name, v in texts.items()}
        return pipe(
            **tensors,
            latents=paddle.to_tensor(noise.astype(np.float32)),
            num_inference_steps=num_inference_steps,
            guidance_scale=guidance_scale,
            height=height,
            width=width,
            output_type="latent",
        ).images.numpy()

    return draw
