"""Checkpoints in the diffusers directory layout: torch-style safetensors, read and written by Paddle networks.

Names are resolved when asked for: describing a model reads its layout only, and must not cost the import of Paddle.
"""

from importlib import import_module

_HOMES = {
    "load_layer": "layers",
    "load_state": "layers",
    "read_config": "layout",
    "read_lora": "lora",
    "save_layer": "layers",
    "save_state": "layers",
    "weight_files": "layout",
    "write_kohya": "lora",
    "write_lora": "lora",
}
__all__ = list(_HOMES)


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
