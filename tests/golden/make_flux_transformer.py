"""Golden values of FLUX's transformer, computed by diffusers.

Run where torch and diffusers are installed: ``python tests/golden/make_flux_transformer.py``. Writes beside itself
  flux_transformer/{guidance,plain}/  two tiny checkpoints saved by diffusers, with a case of inputs and outputs
  flux_wide.safetensors               outputs of a double and a single block at FLUX.1's width, weights from a formula
  manifest_flux_{dev,schnell}.json    names and shapes of the full transformers, instantiated on the meta device
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from diffusers import FluxTransformer2DModel
from diffusers.models.transformers.transformer_flux import (
    FluxPosEmbed,
    FluxSingleTransformerBlock,
    FluxTransformerBlock,
)
from safetensors.torch import save_file

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
from formula_weights import formula, ids  # noqa: E402

TINY = {
    "in_channels": 64,
    "num_layers": 2,
    "num_single_layers": 3,
    "attention_head_dim": 16,
    "num_attention_heads": 2,
    "joint_attention_dim": 24,
    "pooled_projection_dim": 20,
    "axes_dims_rope": (4, 6, 6),
}


def fill(module, prefix=""):
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            parameter.copy_(torch.from_numpy(formula(prefix + name, tuple(parameter.shape))))


def tiny(folder, guidance):
    model = FluxTransformer2DModel(**TINY, guidance_embeds=guidance).eval()
    fill(model)
    model.save_pretrained(folder)
    txt, img = ids(5, 4, 6)
    inputs = {
        "hidden_states": torch.from_numpy(formula("in.hidden", (2, 24, 64), 1.0)),
        "encoder_hidden_states": torch.from_numpy(formula("in.text", (2, 5, 24), 1.0)),
        "pooled_projections": torch.from_numpy(formula("in.pooled", (2, 20), 1.0)),
        "timestep": torch.tensor([0.87, 0.1]),
    }
    if guidance:
        inputs["guidance"] = torch.tensor([3.5, 1.0])
    with torch.no_grad():
        out = model(**inputs, txt_ids=torch.from_numpy(txt), img_ids=torch.from_numpy(img)).sample
    save_file({**inputs, "output": out}, folder / "case.safetensors")


def wide():
    dim, heads, head_dim = 3072, 24, 128
    txt, img = ids(7, 3, 5)
    rope = FluxPosEmbed(theta=10000, axes_dim=[16, 56, 56])(torch.from_numpy(np.concatenate([txt, img])))
    image = torch.from_numpy(formula("wide.image", (1, 15, dim), 1.0))
    text = torch.from_numpy(formula("wide.text", (1, 7, dim), 1.0))
    temb = torch.from_numpy(formula("wide.temb", (1, dim), 1.0))
    result = {}
    with torch.no_grad():
        double = FluxTransformerBlock(dim, heads, head_dim).eval()
        fill(double, "double.")
        text_out, image_out = double(image, text, temb, rope)
        result["double.text"], result["double.image"] = text_out.contiguous(), image_out.contiguous()
        del double
        single = FluxSingleTransformerBlock(dim, heads, head_dim).eval()
        fill(single, "single.")
        text_out, image_out = single(image, text, temb, rope)
        result["single.text"], result["single.image"] = text_out.contiguous(), image_out.contiguous()
    save_file(result, HERE / "flux_wide.safetensors")


def manifest(name, guidance):
    with torch.device("meta"):
        model = FluxTransformer2DModel(guidance_embeds=guidance)
    shapes = {key: list(value.shape) for key, value in model.state_dict().items()}
    (HERE / f"manifest_flux_{name}.json").write_text(json.dumps(shapes, indent=0) + "\n")


if __name__ == "__main__":
    for name, guidance in (("guidance", True), ("plain", False)):
        tiny(HERE / "flux_transformer" / name, guidance)
    wide()
    manifest("dev", True)
    manifest("schnell", False)
