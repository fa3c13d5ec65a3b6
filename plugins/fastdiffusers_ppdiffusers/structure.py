"""What kind of pipeline an object is, by names and structure. Imports neither Paddle nor ppdiffusers.

An object counts as a Paddle layer if it keeps its parts as one does: pipelines of torch look alike otherwise.
"""

from __future__ import annotations

import inspect
from typing import Any

_LAYER = ("_parameters", "_sub_layers", "_buffers")
_DOUBLE = ("norm1", "norm1_context", "attn", "ff")
_SINGLE = ("norm", "attn", "proj_mlp", "proj_out")


def is_sd15(pipe: Any) -> bool:
    """Stable Diffusion with a UNet and one text encoder."""
    return _is_unet_pipeline(pipe) and getattr(pipe, "text_encoder_2", None) is None


def is_sdxl(pipe: Any) -> bool:
    """Stable Diffusion XL: a UNet and two text encoders."""
    return _is_unet_pipeline(pipe) and getattr(pipe, "text_encoder_2", None) is not None


def is_sd3(pipe: Any) -> bool:
    """Stable Diffusion 3: joint blocks only, and a picture as input."""
    model = getattr(pipe, "transformer", None)
    return (
        _samples(pipe)
        and _is_from(pipe, "ppdiffusers", "StableDiffusion3")
        and _is_layer(model)
        and _takes(model, "hidden_states", "encoder_hidden_states", "pooled_projections", "timestep")
        and not _takes(model, "img_ids")
        and _holds(model, "transformer_blocks", _DOUBLE)
        and getattr(model, "single_transformer_blocks", None) is None
    )


def is_flux(pipe: Any) -> bool:
    """FLUX: joint blocks, then single ones, over packed tokens with position ids."""
    model = getattr(pipe, "transformer", None)
    return (
        _samples(pipe)
        and _is_layer(model)
        and _takes(model, "hidden_states", "encoder_hidden_states", "pooled_projections", "timestep", "img_ids")
        and _takes(model, "txt_ids", "guidance")
        and _holds(model, "transformer_blocks", _DOUBLE)
        and _holds(model, "single_transformer_blocks", _SINGLE)
    )


def _is_unet_pipeline(pipe: Any) -> bool:
    model = getattr(pipe, "unet", None)
    return (
        _samples(pipe)
        and _is_from(pipe, "ppdiffusers", "StableDiffusion")
        and _is_layer(model)
        and _takes(model, "sample", "timestep", "encoder_hidden_states")
        and all(getattr(model, name, None) is not None for name in ("down_blocks", "up_blocks"))
    )


def _samples(pipe: Any) -> bool:
    scheduler = getattr(pipe, "scheduler", None)
    return callable(pipe) and all(callable(getattr(scheduler, name, None)) for name in ("step", "set_timesteps"))


def _is_from(pipe: Any, package: str, start: str) -> bool:
    """Whether its class, or one that it derives from, is of ``package`` and called ``start``…"""
    return any(
        kind.__name__.startswith(start) and kind.__module__.partition(".")[0] == package for kind in type(pipe).__mro__
    )


def _is_layer(model: Any) -> bool:
    own = getattr(model, "__dict__", {})
    return all(isinstance(own.get(name), dict) for name in _LAYER)


def _takes(model: Any, *names: str) -> bool:
    try:
        return set(names) <= set(inspect.signature(model.forward).parameters)
    except (AttributeError, TypeError, ValueError):
        return False


def _holds(model: Any, name: str, parts: tuple[str, ...]) -> bool:
    blocks: Any = getattr(model, name, None)
    return _is_layer(blocks) and len(blocks) > 0 and all(hasattr(blocks[0], part) for part in parts)
