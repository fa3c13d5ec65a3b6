"""Writes the tiny checkpoints of make_ppdiffusers.py into a folder; needs numpy and safetensors only."""

import json
from pathlib import Path

import numpy as np
from formula_weights import formula
from safetensors.numpy import save_file

HERE = Path(__file__).parent
MODEL = ("unet", "transformer", "vae")


def write(name: str, folder: Path) -> Path:
    """The checkpoint ``name`` (sd15, sdxl, sd3) in diffusers' layout, below ``folder``; returns its own folder."""
    content = json.loads((HERE / "ppdiffusers" / f"{name}.json").read_text(encoding="utf-8"))
    place = Path(folder) / name
    for path, text in content["files"].items():
        (place / path).parent.mkdir(parents=True, exist_ok=True)
        (place / path).write_text(text, encoding="utf-8")
    for part, shapes in content["weights"].items():
        weights = {key: formula(f"{part}.{key}", tuple(shape)) for key, shape in shapes.items()}
        if "shared.weight" in weights:
            weights["encoder.embed_tokens.weight"] = weights["shared.weight"].copy()
        file = "diffusion_pytorch_model" if part in MODEL else "model"
        save_file(weights, place / part / f"{file}.safetensors", metadata={"format": "pt"})
    return place


def golden(name: str) -> dict[str, np.ndarray]:
    """What diffusers drew with it."""
    with np.load(HERE / "ppdiffusers" / f"{name}.npz") as found:
        return dict(found)
