"""A whole pipeline as a folder of the diffusers layout."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fastdiffusers.errors import InputError
from fastdiffusers.files import atomic_write

INDEX = {
    "_class_name": "FluxPipeline",
    "_diffusers_version": "0.30.0",  # the first release with FLUX
    "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "text_encoder_2": ["transformers", "T5EncoderModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "tokenizer_2": ["transformers", "T5TokenizerFast"],
    "transformer": ["diffusers", "FluxTransformer2DModel"],
    "vae": ["diffusers", "AutoencoderKL"],
}


def save_pipeline(pipe: Any, folder: Path, dtype: str, save_layer: Callable[..., None]) -> None:
    """Write every part of ``pipe`` under ``folder``, which must not exist; whole or not at all."""
    if folder.exists():
        raise InputError(f"{str(folder)!r} exists already; give the name of a new folder")
    with atomic_write(folder) as temporary:
        for part in pipe.PARTS:
            save_layer(getattr(pipe, part), temporary / part, dtype)
        pipe.tokenizer.save(temporary / "tokenizer")
        pipe.tokenizer_2.save(temporary / "tokenizer_2")
        write_json(temporary / "scheduler" / "scheduler_config.json", pipe.scheduler.config.to_dict())
        write_json(temporary / "model_index.json", INDEX)


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write one JSON file of a model folder, making its own folder if need be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
