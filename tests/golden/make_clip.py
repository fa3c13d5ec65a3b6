"""Golden values for CLIP whole: encoders, projections and the preparation of pictures, computed by transformers.

Run from the repository's root where torch and transformers (5.x) are installed: ``python tests/golden/make_clip.py``.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel, CLIPTokenizer

HERE = Path(__file__).parent
FOLDER = HERE / "clip"
SIZE = 24
SHAPES = ((40, 60), (61, 33), (24, 24), (10, 17), (24, 25))
"""Height and width: larger, tall with odd rests, as it is, smaller, one column too many."""
TEXTS = ("a red apple on a blue background", "A photo of a cat", "", "hello!!! what?! " * 30)


def pictures() -> list[np.ndarray]:
    """Noise over a slope, so that every pixel counts and no two places are alike."""
    rng = np.random.RandomState(0)
    found = []
    for height, width in SHAPES:
        slope = np.linspace(0, 200, height)[:, None, None] + np.linspace(0, 30, width)[None, :, None]
        found.append((slope + rng.uniform(0, 25, (height, width, 3))).astype(np.uint8))
    return found


def main() -> None:
    """One folder that `CLIPModel.from_pretrained` opens, and what comes out of it."""
    tokenizer = CLIPTokenizer.from_pretrained(HERE / "tokenizers" / "clip")
    torch.manual_seed(0)
    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "intermediate_size": 40,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": 20,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }
    vision = {
        "hidden_size": 48,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "image_size": SIZE,
        "patch_size": 7,
        "hidden_act": "gelu",
    }
    model = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=28)).eval()
    for parameter in model.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
    model.save_pretrained(FOLDER)
    for name in ("vocab.json", "merges.txt", "tokenizer_config.json"):
        shutil.copy(HERE / "tokenizers" / "clip" / name, FOLDER / name)
    processor = CLIPImageProcessorPil(size={"shortest_edge": SIZE}, crop_size={"height": SIZE, "width": SIZE})
    processor.save_pretrained(FOLDER)
    drawn = pictures()
    pixels = processor([*drawn], return_tensors="pt")["pixel_values"]
    ids = tokenizer(list(TEXTS), padding="max_length", truncation=True, max_length=20, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        out = model(input_ids=ids, pixel_values=pixels)
    tensors = {"pixels": pixels, "images": out.image_embeds, "texts": out.text_embeds, "ids": ids}
    tensors |= {f"picture.{i}": torch.from_numpy(picture) for i, picture in enumerate(drawn)}
    save_file({key: value.contiguous() for key, value in tensors.items()}, FOLDER / "outputs.safetensors")


if __name__ == "__main__":
    main()
