"""LoRA students of the tiny Stable Diffusion checkpoints in torch: how they learn, and what they draw.

Run where torch, diffusers and peft are installed: ``python tests/golden/make_unet_students.py``. Writes

- ``unet_lora_steps.npz``: one step of latent consistency and one of phased consistency on SDXL's UNet: inputs, targets,
  losses, the gradient of every factor. The adapter is merged into the weights, so that torch derives its gradient.
- ``unet_lora_drawn.npz``: what diffusers' pipelines draw with LoRA files, in kohya's keys and in diffusers', and with
  stock schedulers (LCMScheduler; DDIMScheduler from the last timestep down); and the files' keys with their shapes.

The noise within LCM steps is a formula, because generators of random numbers differ.
"""

import json
import sys
import tempfile
from pathlib import Path

import diffusers.schedulers.scheduling_lcm as scheduling_lcm
import numpy as np
import torch
from diffusers import (
    DDIMScheduler,
    LCMScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from safetensors.torch import save_file
from torch.func import functional_call

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
from formula_weights import formula  # noqa: E402
from ppdiffusers_checkpoint import write  # noqa: E402

RANK, ALPHA = 2, 3.0
HUBER = 10.0  # at 1e-3 a gradient is that of signs, which rounding turns
PHASES = {"lcm": (50, 1), "pcm": (40, 4)}


def unet_of(name):
    files = json.loads((HERE / "ppdiffusers" / f"{name}.json").read_text())["files"]
    made = UNet2DConditionModel.from_config(json.loads(files["unet/config.json"]))
    with torch.no_grad():
        for key, value in made.state_dict().items():
            value.copy_(torch.from_numpy(formula(f"unet.{key}", tuple(value.shape))))
    return made.eval().requires_grad_(False)


def factors_of(unet):
    """Down and up of every linear layer and convolution in the blocks, as matrices."""
    found = {}
    for path, layer in unet.named_modules():
        inside = path.startswith(("down_blocks", "mid_block", "up_blocks"))
        if inside and isinstance(layer, torch.nn.Linear | torch.nn.Conv2d):
            outer, inner = layer.weight.shape[0], layer.weight[0].numel()
            down, up = formula(f"lora.{path}.down", (RANK, inner)), formula(f"lora.{path}.up", (outer, RANK))
            found[path] = (torch.from_numpy(down), torch.from_numpy(up))
    return found


def merged(unet, factors):
    weights = dict(unet.named_parameters())
    for path, (down, up) in factors.items():
        weight = weights[f"{path}.weight"]
        weights[f"{path}.weight"] = weight + ALPHA / RANK * (up @ down).reshape(weight.shape)
    return weights


def steps():
    unet = unet_of("sdxl")
    config = unet.config
    rng = np.random.default_rng(21)
    draw = lambda *shape: torch.from_numpy(rng.standard_normal(shape).astype(np.float32))  # noqa: E731
    count, width = 3, config.cross_attention_dim
    pooled_width = config.projection_class_embeddings_input_dim - 6 * config.addition_time_embed_dim
    given = {"latents": draw(count, 4, 8, 8), "noise": draw(count, 4, 8, 8), "text": draw(count, 5, width)}
    given |= {"pooled": draw(count, pooled_width), "empty": draw(1, 5, width), "empty_pooled": draw(1, pooled_width)}
    given |= {"guidance": torch.tensor([4.0, 9.5, 16.0])}
    size = torch.tensor([[16.0, 16.0, 0.0, 0.0, 16.0, 16.0]]).expand(count, -1)
    bar = torch.cumprod(1 - torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2, 0)
    wide = lambda value: value.float().reshape(-1, 1, 1, 1)  # noqa: E731
    alpha, sigma = (lambda t: wide(bar[t].sqrt())), (lambda t: wide((1 - bar[t]).sqrt()))
    found = dict(given)

    for name, (solver, phases) in PHASES.items():
        factors = {
            path: (d.clone().requires_grad_(), u.clone().requires_grad_()) for path, (d, u) in factors_of(unet).items()
        }

        def predict(x, t, text, pooled, weights=None):
            told = {"text_embeds": pooled, "time_ids": size}
            words = {"encoder_hidden_states": text, "added_cond_kwargs": told}
            if weights is None:
                return unet(x, t, **words).sample
            return functional_call(unet, weights, (x, t), words).sample

        # the noisiest level first, as drawing goes: 0 … solver; the last one is timestep 0
        visited = torch.cat([torch.arange(solver, 0, -1) * (1000 // solver) - 1, torch.tensor([0])])
        n = torch.tensor([0, 17, solver - 1])
        end = visited[(n // (solver // phases) + 1) * (solver // phases)]
        now, then = visited[n], visited[n + 1]

        def jump(x, t, predicted, goal, phases=phases):
            clean = (x - sigma(t) * predicted) / alpha(t)
            if phases == 1:
                skip, out = 0.25 / ((10.0 * t) ** 2 + 0.25), 10.0 * t / ((10.0 * t) ** 2 + 0.25) ** 0.5
                return wide(skip) * x + wide(out) * clean
            return alpha(goal) * clean + sigma(goal) * predicted

        x = alpha(now) * given["latents"] + sigma(now) * given["noise"]
        weights = merged(unet, factors)
        landing = jump(x, now, predict(x, now, given["text"], given["pooled"], weights), end)
        with torch.no_grad():
            told = predict(x, now, given["text"], given["pooled"])
            rows = [given[key].expand(count, *given[key].shape[1:]) for key in ("empty", "empty_pooled")]
            untold = predict(x, now, *rows)
            guided = untold + wide(given["guidance"]) * (told - untold)
            nearer = alpha(then) * (x - sigma(now) * guided) / alpha(now) + sigma(then) * guided
            target = jump(nearer, then, predict(nearer, then, given["text"], given["pooled"], weights), end)
            arrived = wide((then == end).float())
            target = arrived * nearer + (1 - arrived) * target
        loss = (torch.sqrt((landing - target) ** 2 + HUBER**2) - HUBER).mean()
        loss.backward()
        found |= {f"{name}/x": x, f"{name}/landing": landing, f"{name}/target": target, f"{name}/loss": loss}
        found[f"{name}/index"] = n
        for path, (down, up) in factors.items():
            found |= {f"{name}/down/{path}": down.grad, f"{name}/up/{path}": up.grad}
        print(name, float(loss), len(factors), "layers")
    np.savez_compressed(HERE / "unet_lora_steps.npz", **{key: value.detach().numpy() for key, value in found.items()})


def files_of(unet, folder):
    """The adapter in both vocabularies."""
    kohya, own = {}, {}
    layers = dict(unet.named_modules())
    for path, (down, up) in factors_of(unet).items():
        shape = layers[path].weight.shape
        down = down.reshape(RANK, *shape[1:]).contiguous()
        up = up.reshape(shape[0], RANK, *(1,) * (len(shape) - 2)).contiguous()
        stem = "lora_unet_" + path.replace(".", "_")
        kohya |= {f"{stem}.lora_down.weight": down, f"{stem}.lora_up.weight": up, f"{stem}.alpha": torch.tensor(ALPHA)}
        own |= {f"unet.{path}.lora_A.weight": down, f"unet.{path}.lora_B.weight": up * (ALPHA / RANK)}
    both = {"kohya": kohya, "diffusers": own}
    for name, tensors in both.items():
        save_file(tensors, folder / f"{name}.safetensors")
    return {name: {key: list(value.shape) for key, value in tensors.items()} for name, tensors in both.items()}


def drawn():
    found = {}
    with tempfile.TemporaryDirectory() as place:
        for name, kind in (("sd15", StableDiffusionPipeline), ("sdxl", StableDiffusionXLPipeline)):
            folder = write(name, Path(place))
            keys = files_of(unet_of(name), Path(place))
            found |= {f"{name}/{form}": np.array(json.dumps(shapes)) for form, shapes in keys.items()}
            for sampler in ("lcm", "euler"):
                latents = {}
                for form in ("kohya", "diffusers"):
                    pipe = kind.from_pretrained(folder, safety_checker=None)
                    pipe.set_progress_bar_config(disable=True)
                    pipe.load_lora_weights(place, weight_name=f"{form}.safetensors")
                    if sampler == "lcm":
                        pipe.scheduler = LCMScheduler.from_config(pipe.scheduler.config)
                    else:
                        more = {"timestep_spacing": "trailing", "set_alpha_to_one": False, "clip_sample": False}
                        pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config, **more)
                    calls = []
                    scheduling_lcm.randn_tensor = lambda shape, calls=calls, **_: _noise(shape, calls)
                    latents[form] = pipe(
                        "a red apple",
                        num_inference_steps=4,
                        guidance_scale=1.0,
                        height=16,
                        width=16,
                        generator=torch.Generator().manual_seed(3),
                        output_type="latent",
                    ).images.numpy()
                    found[f"{name}/{sampler}/timesteps"] = pipe.scheduler.timesteps.numpy()
                apart = np.abs(latents["kohya"] - latents["diffusers"]).max() / np.abs(latents["kohya"]).max()
                assert apart < 1e-5, (name, sampler, apart)
                found[f"{name}/{sampler}"] = latents["kohya"]
                print(name, sampler, found[f"{name}/{sampler}/timesteps"], np.abs(latents["kohya"]).max(), apart)
    np.savez_compressed(HERE / "unet_lora_drawn.npz", **found)


def _noise(shape, calls):
    calls.append(shape)
    return torch.from_numpy(formula(f"noise.{len(calls)}", tuple(shape))) * 4.0


if __name__ == "__main__":
    steps()
    drawn()
