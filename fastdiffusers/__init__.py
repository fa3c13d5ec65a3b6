"""Acceleration toolbox for diffusion models on PaddlePaddle.

``pipe = fastdiffusers.load("flux-emoji")`` opens a model, ``fastdiffusers.accelerate(pipe, "teacache:threshold=0.4")``
attaches accelerators for the length of a ``with`` block. Nothing is imported until it is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastdiffusers._version import __version__

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["__version__", "accelerate", "hookimpl", "load"]


def load(name_or_path: str | Path = "flux-emoji", dtype: str = "float32") -> Any:
    """Open an embedded model (``"flux-emoji"``) or a folder of the diffusers layout as a pipeline that draws.

    ``dtype`` is what it computes in: float32, or bfloat16 and float16 on a GPU. Errors are one-line
    `fastdiffusers.errors.UserError`: no such model, another layout, broken, missing or (in an embedded model)
    changed weights, too little memory.
    """
    from fastdiffusers.environment import prepare
    from fastdiffusers.errors import WeightsError
    from fastdiffusers.models.info import describe
    from fastdiffusers.plugins import registry
    from fastdiffusers.zoo import EMBEDDED, check_frozen

    info = describe(name_or_path)
    if info.outline:
        raise WeightsError(
            f"{info.name} is known here by its configuration alone, which `fastdiff explain` needs; to draw with it "
            "give the folder of its weights (diffusers layout)"
        )
    if str(name_or_path) in EMBEDDED:
        check_frozen(info.name, info.sha256)
    prepare()
    return registry().pipelines[info.family].load().from_pretrained(info, dtype)


def accelerate(pipe: Any, accelerators: Any = None, **setting: Any) -> Any:
    """Attach accelerators to ``pipe`` and return the `fastdiffusers.session.Session`; see there."""
    from fastdiffusers.session import accelerate as attach

    return attach(pipe, accelerators, **setting)


def __getattr__(name: str) -> Any:
    if name == "hookimpl":  # here too, so that a plugin needs one import; pluggy is not loaded until it is asked for
        from fastdiffusers.hookspecs import hookimpl

        return hookimpl
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
