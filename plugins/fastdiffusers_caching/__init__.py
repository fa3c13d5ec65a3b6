"""Training-free caches: skip work on steps whose result can be had from an earlier one.

This module is data only; Paddle is imported when a cache is attached.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastdiffusers.accelerator import AcceleratorSpec
from fastdiffusers.hookspecs import hookimpl
from fastdiffusers_caching import (
    blockdance,
    dbcache,
    fbcache,
    firstblock_taylor,
    magcache,
    product,
    seacache,
    sortblock,
    static,
    taylorseer,
    teablockcache,
    teacache,
)

if TYPE_CHECKING:
    import typer

PRESETS = (
    teacache,
    teablockcache,
    seacache,
    magcache,
    fbcache,
    firstblock_taylor,
    dbcache,
    taylorseer,
    blockdance,
    sortblock,
    static,
    product,
)


@hookimpl
def register_accelerators() -> list[AcceleratorSpec]:
    """Every preset."""
    return [preset.SPEC for preset in PRESETS]


@hookimpl
def register_commands(app: typer.Typer) -> None:
    """``fastdiff calibrate NAME``."""
    from fastdiffusers_caching.commands import calibrate

    app.command("calibrate", help="Measure on a model what a cache has to know of it, and keep it beside the model.")(
        calibrate
    )
