"""Training-free caches: skip work on steps whose result can be had from an earlier one.

This module is data only; Paddle is imported when a cache is attached.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastdiffusers.accelerator import AcceleratorSpec, Fidelity, Kind, Reference
from fastdiffusers.hookspecs import hookimpl
from fastdiffusers_caching.options import TeaCacheConfig
from fastdiffusers_caching.predict import predict_teacache

if TYPE_CHECKING:
    import typer

TEACACHE = AcceleratorSpec(
    name="teacache",
    kind=Kind.CACHE,
    summary="skip whole steps while the accumulated change of the first block's input stays below a threshold",
    target="fastdiffusers_caching.teacache:TeaCache",
    config=TeaCacheConfig,
    claims=frozenset({"blocks"}),
    requires=frozenset({"blocks"}),
    tags=frozenset({"cache", "whole-stack"}),
    fidelity=Fidelity.LOSSY,
    references=(
        Reference(
            title="Timestep Embedding Tells: It's Time to Cache for Video Diffusion Model",
            authors="Feng Liu and Shiwei Zhang and Xiaofeng Wang and Yujie Wei and Haonan Qiu and Yuzhong Zhao and "
            "Yingya Zhang and Qixiang Ye and Fang Wan",
            year=2025,
            arxiv="2411.19108",
            note="CVPR 2025",
        ),
    ),
    predict=predict_teacache,
)


@hookimpl
def register_accelerators() -> list[AcceleratorSpec]:
    """TeaCache."""
    return [TEACACHE]


@hookimpl
def register_commands(app: typer.Typer) -> None:
    """``fastdiff calibrate NAME``."""
    from fastdiffusers_caching.commands import calibrate

    app.command("calibrate", help="Measure on a model what a cache has to know of it, and keep it beside the model.")(
        calibrate
    )
