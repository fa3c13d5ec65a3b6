"""``fastdiff calibrate teacache``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def calibrate(
    name: Annotated[str, typer.Argument(help="the cache to calibrate; valid: teacache")],
    model: Annotated[str, typer.Option(help="embedded model or folder of the diffusers layout")] = "flux-emoji",
    prompts: Annotated[
        Path | None,
        typer.Option(help="text file, one prompt a line; default: the model's own prompts"),
    ] = None,
    dtype: Annotated[str, typer.Option(help="what to compute in")] = "float32",
    threads: Annotated[
        int | None,
        typer.Option(help="CPU threads; default: physical cores"),
    ] = None,
) -> None:
    """Measure on a model what a cache has to know of it, and keep it beside the model."""
    from fastdiffusers.errors import InputError, one_of
    from fastdiffusers_caching.calibration import calibrate_teacache, summary

    if name != "teacache":
        raise InputError(one_of("calibration", name, ["teacache"]))
    polynomial, path = calibrate_teacache(model, prompts, dtype, threads)
    print(summary(polynomial))
    print(f"written to {path}; `--accel teacache` uses it from now on")
