"""``fastdiff calibrate NAME``: teacache, magcache, static."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def calibrate(
    name: Annotated[str, typer.Argument(help="the cache to calibrate: teacache, magcache or static")],
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
    budget: Annotated[
        int | None,
        typer.Option(help="static: number of computed steps of the mask to search for"),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(help="static: number of steps of the mask; default: the model's own"),
    ] = None,
    order: Annotated[
        int | None,
        typer.Option(help="static: order of the forecast that the mask is for, 0 to 4; default: 0, plain reuse"),
    ] = None,
    damping: Annotated[
        float | None,
        typer.Option(help="static: damping of that forecast, 0 to 1; default: 1, none"),
    ] = None,
) -> None:
    """Measure on a model what a cache has to know of it, and keep it beside the model."""
    from fastdiffusers.errors import InputError
    from fastdiffusers_caching import calibration, masks

    if name not in calibration.KINDS:
        raise InputError(f"unknown calibration {name!r}; valid: {', '.join(calibration.KINDS)}")
    given = {"--budget": budget, "--steps": steps, "--order": order, "--damping": damping}
    if name != "static" and any(value is not None for value in given.values()):
        words = f"{', '.join(list(given)[:-1])} and {list(given)[-1]}"
        raise InputError(f"{words} are for static masks; {name} takes none of them")
    if name == "static" and budget is None:
        raise InputError("static needs --budget, the number of computed steps")
    run = calibration.Run(model, prompts, dtype, threads)
    if name == "teacache":
        told, path = run.teacache()
    elif name == "magcache":
        told, path = run.magcache()
    else:
        told, path = run.static(budget or 0, steps, order or 0, 1.0 if damping is None else damping)
    print(told)
    options = ""
    if name == "static":
        forecast = masks.forecast_words(order or 0, 1.0 if damping is None else damping)
        options = f":budget={budget}" + (f":steps={steps}" if steps else "") + forecast
    print(f"written to {path}; `--accel {name}{options}` uses it from now on")
