"""What lies in a folder of the diffusers layout: config.json, one safetensors file or shards with an index.

Reads names and sizes only; imports no Paddle.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fastdiffusers.errors import WeightsError

WEIGHT_NAMES = ("diffusion_pytorch_model", "model", "diffusion_paddle_model")
DTYPES = ("float32", "bfloat16", "float16")  # what can be computed and stored in
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pdparams", ".pkl")


def read_json(path: Path) -> dict[str, Any]:
    """Parse a JSON object; a missing or broken file is a `WeightsError` that names it."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise WeightsError(f"{str(path)!r} does not exist; a model folder of the diffusers layout has it") from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise WeightsError(f"{str(path)!r} is not readable JSON: {error}") from None
    if not isinstance(content, dict):
        raise WeightsError(f"{str(path)!r} holds a JSON {type(content).__name__}, an object is needed")
    return content


def read_config(folder: Path) -> dict[str, Any]:
    """The parsed ``config.json`` (or ``scheduler_config.json``) of one part of a model."""
    scheduler = folder / "scheduler_config.json"
    return read_json(scheduler if scheduler.exists() else folder / "config.json")


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of one part of a model, in order: a single file, or the shards that its index names.

    Errors: no weights, a pickle in their place, a shard that the index names and the folder lacks.
    """
    folder = Path(folder)
    for name in WEIGHT_NAMES:
        single = folder / f"{name}.safetensors"
        if single.is_file():
            return [single]
        index = folder / f"{name}.safetensors.index.json"
        if index.is_file():
            return _shards(folder, index)
    if not folder.is_dir():
        raise WeightsError(f"{str(folder)!r} is not a folder; a model of the diffusers layout has it")
    pickles = sorted(item.name for item in folder.iterdir() if item.suffix in PICKLES)
    if pickles:
        raise WeightsError(
            f"{str(folder / pickles[0])!r} is a pickle, which can run code when opened; convert it to safetensors"
        )
    raise WeightsError(
        f"no weights in {str(folder)!r}; expected {WEIGHT_NAMES[0]}.safetensors or "
        f"{WEIGHT_NAMES[1]}.safetensors, or shards with their index"
    )


def _shards(folder: Path, index: Path) -> list[Path]:
    mapping = read_json(index).get("weight_map")
    if not isinstance(mapping, dict) or not mapping:
        raise WeightsError(f"{str(index)!r} has no weight_map; it should name the shard of every weight")
    names = sorted({str(name) for name in mapping.values()})
    for name in names:
        if Path(name).name != name:
            raise WeightsError(f"{str(index)!r} names the shard {name!r}, which lies outside its folder")
        if not (folder / name).is_file():
            raise WeightsError(f"{str(index)!r} names the shard {name!r}, which the folder lacks")
    return [folder / name for name in names]
