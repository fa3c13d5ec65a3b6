"""The parts of a model folder as layers of ppdiffusers: every weight from the files, none left at random.

ppdiffusers' own loader is not used: it writes a pickle of the text encoders into the model's folder, ignores settings
that it does not know (SD3.5's, for one), and goes on when weights are missing.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import paddle

from fastdiffusers.errors import WeightsError, one_of
from fastdiffusers.files import atomic_write
from fastdiffusers.models.autoencoder_kl import AutoencoderKL
from fastdiffusers.models.clip_text import CLIPTextModel
from fastdiffusers.models.t5_encoder import T5EncoderModel
from fastdiffusers.weights.layers import load_state, save_state
from fastdiffusers.weights.layout import read_config, weight_files
from fastdiffusers_ppdiffusers.runtime import load_ppdiffusers

RENAMES: dict[str, Callable[[str], str | None]] = {
    "AutoencoderKL": AutoencoderKL.rename,
    "CLIPTextModel": CLIPTextModel.rename,
    "CLIPTextModelWithProjection": lambda key: key if key.startswith("text_projection.") else CLIPTextModel.rename(key),
    "T5EncoderModel": T5EncoderModel.rename,
}
NETWORKS = ("UNet2DConditionModel", "SD3Transformer2DModel", "AutoencoderKL")
ENCODERS = {
    "CLIPTextModel": "CLIPTextConfig",
    "CLIPTextModelWithProjection": "CLIPTextConfig",
    "T5EncoderModel": "T5Config",
}
# Settings of newer models and schedulers that ppdiffusers 0.29.0 does not have: what they must be for it to be right.
NEUTRAL = {
    "SD3Transformer2DModel": ("qk_norm", "dual_attention_layers"),
    "FlowMatchEulerDiscreteScheduler": (
        "use_dynamic_shifting",
        "shift_terminal",
        "use_karras_sigmas",
        "use_exponential_sigmas",
        "use_beta_sigmas",
        "invert_sigmas",
        "stochastic_sampling",
    ),
}
_NO_SETTINGS = ("architectures", "model_type", "transformers_version", "dtype", "torch_dtype", "paddlenlp_version")


def build_network(folder: Path) -> Any:
    """The UNet, transformer or VAE that ``folder`` describes, with weights that take no room yet."""
    config = read_config(folder)
    name = _known(config.get("_class_name"), NETWORKS, folder)
    check_neutral(name, config, folder)
    library = load_ppdiffusers()
    with paddle.LazyGuard():
        return getattr(library, name).from_config(config)


def load_network(folder: Path, dtype: str) -> Any:
    """The UNet, transformer or VAE in ``folder``."""
    layer = build_network(folder)
    return _filled(layer, type(layer).__name__, folder, dtype)


def save_network(layer: Any, folder: Path) -> None:
    """Write a network so that diffusers and ppdiffusers open ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    save_state(layer, folder)
    config = {"_class_name": type(layer).__name__}
    config |= {key: value for key, value in dict(layer.config).items() if key[0] != "_"}
    with atomic_write(folder / "config.json") as path:
        path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def load_encoder(folder: Path, dtype: str) -> Any:
    """The text encoder in ``folder``."""
    config = read_config(folder)
    name = _known((config.get("architectures") or [None])[0], tuple(ENCODERS), folder)
    load_ppdiffusers()
    from ppdiffusers import transformers

    settings = {key: value for key, value in config.items() if key not in _NO_SETTINGS and key[0] != "_"}
    layer = getattr(transformers, name)(getattr(transformers, ENCODERS[name])(**settings))
    return _filled(layer, name, folder, dtype)


def load_scheduler(folder: Path) -> Any:
    """The scheduler in ``folder``."""
    config = read_config(folder)
    library = load_ppdiffusers()
    name = str(config.get("_class_name"))
    if not (name.endswith("Scheduler") and hasattr(library, name)):
        raise WeightsError(one_of("scheduler", name, [entry for entry in dir(library) if entry.endswith("Scheduler")]))
    check_neutral(name, config, folder)
    return getattr(library, name).from_config(config)


def check_neutral(name: str, config: dict[str, Any], folder: Path) -> None:
    """`WeightsError` for a setting that ppdiffusers would ignore although it matters."""
    for key in NEUTRAL.get(name, ()):
        if config.get(key):
            raise WeightsError(
                f"{str(folder)!r} has {key}={config[key]!r}, which ppdiffusers 0.29.0 does not know; its {name} would "
                "compute something else"
            )


def _known(name: Any, valid: tuple[str, ...], folder: Path) -> str:
    if name not in valid:
        raise WeightsError(f"{str(folder)!r}: {one_of('class', name, valid)}")
    return str(name)


def _filled(layer: Any, name: str, folder: Path, dtype: str) -> Any:
    # these norms have no weights in diffusers; ppdiffusers gives them a bias of zeros
    load_state(layer, weight_files(folder), dtype, RENAMES.get(name), constant=lambda key: key.endswith(".norm.bias"))
    layer.eval()
    return layer
