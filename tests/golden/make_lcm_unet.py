"""One step of latent consistency training in full, computed by torch on a tiny Stable Diffusion 1.5 UNet.

Run where torch and diffusers are installed: ``python tests/golden/make_lcm_unet.py``. Writes ``lcm_unet.npz``: inputs,
what each part of the step gives, the gradient of every weight, and the weights after it. The weights are formulas
(formula_weights.py); the UNet's settings are those of ``ppdiffusers/sd15.json``. Luo et al. 2023, "Latent Consistency
Models", algorithm 1, with 50 steps of DDIM as its solver.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from diffusers import UNet2DConditionModel

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
from formula_weights import formula  # noqa: E402

WIDTH = 8  # of the embedding of w
LR, DECAY, HUBER = 1e-3, 0.95, 1e-3


def unet(config, **more):
    made = UNet2DConditionModel.from_config({**config, **more})
    with torch.no_grad():
        for name, value in made.state_dict().items():
            value.copy_(torch.from_numpy(formula(f"unet.{name}", tuple(value.shape))))
    return made.eval()


def embedding(w):
    """Sines and cosines of 1000·w, frequencies from 1 down to 1/10000."""
    frequencies = torch.exp(-np.log(10000.0) * torch.arange(WIDTH // 2, dtype=torch.float32) / (WIDTH // 2 - 1))
    angles = (1000.0 * w)[:, None] * frequencies[None]
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def main():
    files = json.loads((HERE / "ppdiffusers" / "sd15.json").read_text())["files"]
    config = json.loads(files["unet/config.json"])
    teacher = unet(config).requires_grad_(False)
    student, target = (unet(config, time_cond_proj_dim=WIDTH) for _ in range(2))
    target.requires_grad_(False)

    rng = np.random.default_rng(11)
    draw = lambda *shape: torch.from_numpy(rng.standard_normal(shape).astype(np.float32))  # noqa: E731
    latents, noise = draw(3, 4, 8, 8), draw(3, 4, 8, 8)
    text, empty = draw(3, 5, 16), draw(1, 5, 16)
    w = torch.tensor([5.0, 9.5, 15.0])
    index = torch.tensor([0, 17, 49])  # of the solver's steps, the least noisy first

    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    bar = torch.cumprod(1 - betas, 0)
    visited = torch.arange(1, 51) * 20 - 1
    start = visited[index]
    end = (start - 20).clamp(min=0)

    wide = lambda value: value.float().reshape(-1, 1, 1, 1)  # noqa: E731
    alpha, sigma = (lambda t: wide(bar[t].sqrt())), (lambda t: wide((1 - bar[t]).sqrt()))
    skip = lambda t: wide(0.25 / ((10.0 * t) ** 2 + 0.25))  # noqa: E731
    out = lambda t: wide(10.0 * t / ((10.0 * t) ** 2 + 0.25) ** 0.5)  # noqa: E731

    def consistent(network, x, t):
        predicted = network(x, t, timestep_cond=embedding(w), encoder_hidden_states=text).sample
        return skip(t) * x + out(t) * (x - sigma(t) * predicted) / alpha(t)

    x = alpha(start) * latents + sigma(start) * noise
    made = consistent(student, x, start)
    with torch.no_grad():
        told = teacher(x, start, encoder_hidden_states=text).sample
        untold = teacher(x, start, encoder_hidden_states=empty.expand(3, -1, -1)).sample
        clean, untold_clean = ((x - sigma(start) * one) / alpha(start) for one in (told, untold))
        guided = clean + wide(w) * (clean - untold_clean)
        guided_noise = told + wide(w) * (told - untold)
        nearer = alpha(end) * guided + sigma(end) * guided_noise
        goal = consistent(target, nearer, end)
    loss = (torch.sqrt((made - goal) ** 2 + HUBER**2) - HUBER).mean()
    loss.backward()
    gradients = {name: value.grad.clone() for name, value in student.named_parameters()}
    norm = torch.nn.utils.clip_grad_norm_(student.parameters(), 1.0)
    torch.optim.AdamW(student.parameters(), lr=LR, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0).step()
    with torch.no_grad():
        for average, value in zip(target.parameters(), student.parameters(), strict=True):
            average.mul_(DECAY).add_(value, alpha=1 - DECAY)

    found = {"latents": latents, "noise": noise, "text": text, "empty": empty, "w": w, "index": index}
    found |= {"x": x, "made": made, "nearer": nearer, "goal": goal, "loss": loss, "norm": norm}
    found |= {f"gradient/{name}": value for name, value in gradients.items()}
    found |= {f"weight/{name}": value for name, value in student.named_parameters()}
    found |= {f"average/{name}": value for name, value in target.named_parameters() if "conv_in" in name}
    np.savez_compressed(HERE / "lcm_unet.npz", **{name: value.detach().numpy() for name, value in found.items()})
    print("loss", float(loss), "norm", float(norm), "parameters", sum(value.numel() for value in gradients.values()))


if __name__ == "__main__":
    main()
