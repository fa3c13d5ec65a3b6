"""Golden runs of the embedded model with its shipped adapters, computed by diffusers on the files as they are.

Run where torch, diffusers, transformers and peft are installed: ``python tests/golden/make_adapters.py``. Writes
``adapters.npz``: final packed latents (float32) of one prompt for each adapter that draws by Euler steps; diffusers has
no scheduler that draws as ``lcm`` does.
"""

import json
from pathlib import Path

import numpy as np
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, FluxPipeline

HERE = Path(__file__).parent
ZOO = HERE.parents[1] / "fastdiffusers" / "zoo"
PROMPT, SEED, GUIDANCE = "a red apple", 1, 3.5

if __name__ == "__main__":
    result = {}
    for folder in sorted((ZOO / "adapters" / "flux-emoji").iterdir()):
        card = json.loads((folder / "fastdiff.json").read_text())
        if card["sampler"] != "euler":
            continue
        pipe = FluxPipeline.from_pretrained(ZOO / "flux_emoji", torch_dtype=torch.float32)
        pipe.set_progress_bar_config(disable=True)
        pipe.load_lora_weights(folder, weight_name="adapter.safetensors")
        pipe.fuse_lora()
        if card.get("shift") is not None:
            own = {"shift": card["shift"], "use_dynamic_shifting": False}
            pipe.scheduler = FlowMatchEulerDiscreteScheduler.from_config(pipe.scheduler.config, **own)
        side = pipe.vae.config.sample_size
        latents = pipe(
            PROMPT,
            guidance_scale=GUIDANCE,
            generator=torch.Generator("cpu").manual_seed(SEED),
            height=side,
            width=side,
            num_inference_steps=card["steps"],
            max_sequence_length=pipe.tokenizer_2.model_max_length,
            output_type="latent",
        ).images
        result[folder.name] = np.asarray(latents, np.float32)
    np.savez_compressed(HERE / "adapters.npz", **result)
