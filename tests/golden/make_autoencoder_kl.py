"""Writes the golden files of tests/models/test_autoencoder_kl.py with diffusers (needs torch and diffusers).

Run from the repository root: ``python tests/golden/make_autoencoder_kl.py``. It writes

- ``autoencoder_kl/<variant>/``: a tiny model with random seeded weights, saved by diffusers itself;
- ``autoencoder_kl/<variant>.npz``: an input of it, the encoder's moments, and what the decoder makes of the mode;
- ``manifest_flux_vae.json``: name → shape of every parameter of FLUX.1's autoencoder (from the meta device).
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL

HERE = Path(__file__).parent
VARIANTS = {
    # As FLUX.1, but three levels: shift, attention, no quant convolutions.
    "flux": {
        "down_block_types": ["DownEncoderBlock2D"] * 3,
        "up_block_types": ["UpDecoderBlock2D"] * 3,
        "block_out_channels": [8, 16, 16],
        "layers_per_block": 2,
        "latent_channels": 4,
        "norm_num_groups": 4,
        "scaling_factor": 0.3611,
        "shift_factor": 0.1159,
        "use_quant_conv": False,
        "use_post_quant_conv": False,
    },
    # The other switches: quant convolutions, no attention, one residual block a level, grey pictures.
    "plain": {
        "in_channels": 1,
        "out_channels": 1,
        "down_block_types": ["DownEncoderBlock2D"] * 2,
        "up_block_types": ["UpDecoderBlock2D"] * 2,
        "block_out_channels": [4, 8],
        "layers_per_block": 1,
        "latent_channels": 2,
        "norm_num_groups": 2,
        "mid_block_add_attention": False,
    },
}
# black-forest-labs/FLUX.1-dev, vae/config.json
FLUX = {
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "block_out_channels": [128, 256, 512, 512],
    "layers_per_block": 2,
    "latent_channels": 16,
    "sample_size": 1024,
    "scaling_factor": 0.3611,
    "shift_factor": 0.1159,
    "use_quant_conv": False,
    "use_post_quant_conv": False,
}


def randomise(model: torch.nn.Module, seed: int) -> None:
    """Weights that leave nothing at 0 or 1, so that a bias or an affine weight left out would show."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if "norm" in name:
                parameter.copy_(noise * 0.3 + (1.0 if name.endswith("weight") else 0.0))
            else:
                fan_in = parameter[0].numel() if parameter.dim() > 1 else 25
                parameter.copy_(noise / fan_in**0.5)


def write_variant(name: str, config: dict, seed: int) -> None:
    model = AutoencoderKL(**config).eval()
    randomise(model, seed)
    model.save_pretrained(HERE / "autoencoder_kl" / name)
    generator = torch.Generator().manual_seed(seed + 100)
    factor = 2 ** (len(config["block_out_channels"]) - 1)
    images = torch.rand(2, model.config.in_channels, 6 * factor, 10 * factor, generator=generator) * 2 - 1
    noise = torch.randn(2, config["latent_channels"], 6, 10, generator=generator)
    with torch.no_grad():
        posterior = model.encode(images).latent_dist
        arrays = {
            "images": images,
            "noise": noise,
            "moments": posterior.parameters,
            "mode": posterior.mode(),
            "sample": posterior.mean + posterior.std * noise,
            "kl": posterior.kl(),
            "decoded": model.decode(posterior.mode()).sample,
        }
    np.savez(HERE / "autoencoder_kl" / f"{name}.npz", **{key: value.numpy() for key, value in arrays.items()})


def write_manifest() -> None:
    with torch.device("meta"):
        model = AutoencoderKL(**FLUX)
    manifest = {"config": FLUX, "shapes": {name: list(value.shape) for name, value in model.state_dict().items()}}
    (HERE / "manifest_flux_vae.json").write_text(json.dumps(manifest, indent=1) + "\n")


if __name__ == "__main__":
    for seed, (name, config) in enumerate(VARIANTS.items()):
        write_variant(name, config, seed)
    write_manifest()
