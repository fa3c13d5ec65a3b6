"""The FLUX family in Paddle. Names are resolved when asked for, so that listing them costs no import of Paddle."""

from importlib import import_module

_HOMES = {
    "AutoencoderKL": "autoencoder_kl",
    "CLIPModel": "clip",
    "CLIPTextModel": "clip_text",
    "FluxTransformer2DModel": "transformer_flux",
    "T5EncoderModel": "t5_encoder",
}
__all__ = ["AutoencoderKL", "CLIPModel", "CLIPTextModel", "FluxTransformer2DModel", "T5EncoderModel"]


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
