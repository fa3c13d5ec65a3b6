"""Makes scheduler.npz: noise levels, steps and image-to-image truncation of diffusers' scheduler and FLUX pipelines.

Needs torch, diffusers and numpy. Keys are JSON of the case, so that the tests need no second list of cases.
"""

import json
from pathlib import Path

import numpy as np
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from diffusers.pipelines.flux.pipeline_flux import calculate_shift
from diffusers.pipelines.flux.pipeline_flux_img2img import FluxImg2ImgPipeline

DEV = {"use_dynamic_shifting": True, "shift": 3.0}
SCHNELL = {"use_dynamic_shifting": False, "shift": 1.0}
SD3 = {"shift": 3.0}
LINEAR = {"use_dynamic_shifting": True, "time_shift_type": "linear"}
TERMINAL = {"use_dynamic_shifting": True, "shift_terminal": 0.1, "base_shift": 0.95, "max_shift": 2.05}
CUSTOM = [1.0, 0.9, 0.55, 0.54, 0.1]

CASES = [{"config": DEV, "n": n, "tokens": t} for n in (1, 2, 4, 7, 20, 28, 50) for t in (64, 256, 1024, 4096, 5000)]
CASES += [{"config": SCHNELL, "n": n, "tokens": 1024} for n in (1, 2, 4, 28)]
CASES += [{"config": config, "n": n, "tokens": 1024} for config in (SD3, LINEAR, TERMINAL) for n in (2, 4, 28)]
CASES += [{"config": config, "sigmas": CUSTOM, "tokens": 300} for config in (DEV, SCHNELL, SD3, LINEAR, TERMINAL)]
CASES += [{"config": config, "n": n, "mu": 0.7} for config in (DEV, SCHNELL, SD3, LINEAR) for n in (1, 3, 28)]
CASES += [{"config": {**SD3, "num_train_timesteps": 500}, "n": 10, "mu": None}]
STRENGTHS = [0.001, 0.1, 0.25, 0.3, 0.5, 0.6, 0.7, 0.95, 1.0]


def schedule(case: dict) -> FlowMatchEulerDiscreteScheduler:
    """The scheduler set as FluxPipeline sets it (``tokens`` given) or by its own default (``mu`` given)."""
    scheduler = FlowMatchEulerDiscreteScheduler(**case["config"])
    if "tokens" in case:
        c = scheduler.config
        ends = (c.base_image_seq_len, c.max_image_seq_len, c.base_shift, c.max_shift)
        sigmas = case["sigmas"] if "sigmas" in case else np.linspace(1.0, 1 / case["n"], case["n"])
        scheduler.set_timesteps(sigmas=sigmas, mu=calculate_shift(case["tokens"], *ends))
    else:
        scheduler.set_timesteps(case["n"], mu=case["mu"])
    return scheduler


def main() -> None:
    arrays = {}
    for case in CASES:
        scheduler = schedule(case)
        key = json.dumps(case)
        arrays[f"schedule {key}|sigmas"] = scheduler.sigmas.numpy()
        arrays[f"schedule {key}|timesteps"] = scheduler.timesteps.numpy()
    for n in (1, 4, 5, 28):
        for strength in STRENGTHS:
            scheduler = schedule({"config": DEV, "n": n, "tokens": 1024})
            pipeline = FluxImg2ImgPipeline.__new__(FluxImg2ImgPipeline)
            object.__setattr__(pipeline, "scheduler", scheduler)
            timesteps, left = FluxImg2ImgPipeline.get_timesteps(pipeline, n, strength, "cpu")
            key = json.dumps({"config": DEV, "n": n, "tokens": 1024, "strength": strength})
            arrays[f"truncate {key}|timesteps"] = timesteps.numpy()
            arrays[f"truncate {key}|left"] = np.array(left)
    torch.manual_seed(0)
    sample, noise, outputs = torch.randn(2, 6, 8), torch.randn(2, 6, 8), torch.randn(4, 2, 6, 8)
    scheduler = schedule({"config": DEV, "n": 4, "tokens": 1024})
    arrays |= {"run|sample": sample.numpy(), "run|noise": noise.numpy(), "run|outputs": outputs.numpy()}
    arrays["run|noised"] = scheduler.scale_noise(sample, scheduler.timesteps[1:3], noise).numpy()
    latent = sample
    for i, timestep in enumerate(scheduler.timesteps):
        latent = scheduler.step(outputs[i], timestep, latent, return_dict=False)[0]
        arrays[f"run|after {i}"] = latent.numpy()
    np.savez_compressed(Path(__file__).with_name("scheduler.npz"), **arrays)


if __name__ == "__main__":
    main()
