"""LoRA layers that any framework can make again: factors by formula, ranks and alphas that differ between layers."""

import numpy as np
from formula_weights import formula

from fastdiffusers.weights.lora_layer import LoraLayer


def in_small_kohya(name):
    """Whether diffusers' converter can place the layer at a small width: single blocks' linear1 it takes at 3072 only.

    Image tokens' value is left out, so that one part of a fused layer is missing.
    """
    if name.startswith("single_"):
        return name.endswith(("norm.linear", "proj_out"))
    return name.startswith("transformer_blocks.") and not name.endswith("to_v")


def lora_layers(shapes):
    """A LoRA on every layer: rank 2, 3 or 4 and alpha 2 to 6 by the length of its name."""
    layers = {}
    for name, (inner, outer) in shapes.items():
        rank, alpha = 2 + len(name) % 3, 2.0 + len(name) % 5
        down = formula(f"{name}.down", (rank, inner))
        up = formula(f"{name}.up", (outer, rank), 0.1 / np.sqrt(rank))
        layers[name] = LoraLayer(down, up, alpha)
    return layers


def wide_shapes(dim=3072):
    """(in, out) of the linear layers of FLUX.1-dev with one double and one single block; other widths by ``dim``."""
    double = "transformer_blocks.0."
    shapes = {}
    for name in ("to_q", "to_k", "to_v", "to_out.0", "add_q_proj", "add_k_proj", "add_v_proj", "to_add_out"):
        shapes[f"{double}attn.{name}"] = (dim, dim)
    for name in ("", "_context"):
        shapes[f"{double}ff{name}.net.0.proj"] = (dim, 4 * dim)
        shapes[f"{double}ff{name}.net.2"] = (4 * dim, dim)
        shapes[f"{double}norm1{name}.linear"] = (dim, 6 * dim)
    single = "single_transformer_blocks.0."
    shapes |= {f"{single}attn.{name}": (dim, dim) for name in ("to_q", "to_k", "to_v")}
    shapes |= {f"{single}proj_mlp": (dim, 4 * dim), f"{single}proj_out": (5 * dim, dim)}
    shapes |= {f"{single}norm.linear": (dim, 3 * dim), "norm_out.linear": (dim, 2 * dim), "proj_out": (dim, 64)}
    for name, inner in (("timestep", 256), ("guidance", 256), ("text", dim // 4)):
        shapes[f"time_text_embed.{name}_embedder.linear_1"] = (inner, dim)
        shapes[f"time_text_embed.{name}_embedder.linear_2"] = (dim, dim)
    return shapes | {"x_embedder": (64, dim), "context_embedder": (4 * dim // 3, dim)}


def probes(name, shape):
    """Four random vectors for each side of a layer: left [4, out], right [4, in]; float64."""
    inner, outer = shape
    left = formula(f"{name}.left", (4, outer), 1.0), formula(f"{name}.right", (4, inner), 1.0)
    return tuple(part.astype(np.float64) for part in left)
