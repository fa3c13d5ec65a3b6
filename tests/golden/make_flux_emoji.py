"""Golden runs of the embedded model, computed by diffusers on its folder as it is in the repository.

Run where torch, diffusers and transformers are installed: ``python tests/golden/make_flux_emoji.py``. Writes
``flux_emoji.npz``: final packed latents (float32) and pictures (uint8) of a few prompts.
"""

from pathlib import Path

import numpy as np
import torch
from diffusers import FluxPipeline

HERE = Path(__file__).parent
MODEL = HERE.parents[1] / "fastdiffusers" / "zoo" / "flux_emoji"
CASES = {
    "plain": {"prompt": "a red apple", "seed": 1, "guidance_scale": 3.5},
    "colour": {"prompt": "a cat face on a blue background", "seed": 2, "guidance_scale": 5.0},
    "cfg": {"prompt": "a rocket", "negative_prompt": "", "true_cfg_scale": 2.0, "seed": 3, "guidance_scale": 1.0},
}

if __name__ == "__main__":
    pipe = FluxPipeline.from_pretrained(MODEL, torch_dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    side = pipe.vae.config.sample_size
    length = pipe.tokenizer_2.model_max_length
    result = {}
    for name, case in CASES.items():
        arguments = {key: value for key, value in case.items() if key != "seed"}
        for output in ("latent", "np"):
            images = pipe(
                **arguments,
                generator=torch.Generator("cpu").manual_seed(case["seed"]),
                height=side,
                width=side,
                num_inference_steps=28,
                max_sequence_length=length,
                output_type=output,
            ).images
            values = np.asarray(images, np.float32)
            result[f"{name}.{output}"] = (values * 255).round().astype(np.uint8) if output == "np" else values
    np.savez_compressed(HERE / "flux_emoji.npz", **result)
