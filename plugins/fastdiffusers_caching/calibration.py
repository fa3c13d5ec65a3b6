"""Fit TeaCache's polynomial on a model and keep it there."""

from __future__ import annotations

from pathlib import Path

from fastdiffusers.counting import counted
from fastdiffusers.environment import prepare
from fastdiffusers.errors import InputError
from fastdiffusers.models.info import ModelInfo, describe
from fastdiffusers_caching.options import TeaCacheConfig
from fastdiffusers_caching.polynomial import Polynomial, store

FEWEST_PROMPTS = 4


def calibrate_teacache(
    model: str, prompts: Path | None, dtype: str, threads: int | None = None
) -> tuple[Polynomial, Path]:
    """Run the model's default setting on every prompt, uncached, fit, store; returns the fit and its file."""
    import sys

    from rich.console import Console
    from rich.progress import Progress

    import fastdiffusers

    info = describe(model)
    texts = calibration_prompts(info, prompts)
    prepare(threads)
    pipe = fastdiffusers.load(model, dtype)
    # not before `prepare`, which starts Paddle as it should be started
    from fastdiffusers_caching.teacache import TeaCache

    console = Console(stderr=True)
    with Progress(console=console, disable=not sys.stderr.isatty(), transient=True) as bar:
        task = bar.add_task("calibrating", total=len(texts))
        result = TeaCache(TeaCacheConfig()).calibrate(pipe, texts, lambda done, total: bar.update(task, completed=done))
    return result["polynomial"], store(result["polynomial"], info)


def calibration_prompts(info: ModelInfo, file: Path | None) -> list[str]:
    """The prompts of a file, or those the model's card brings; at least four."""
    if file is None:
        texts = [str(text) for text in info.card.get("prompts", [])]
        if len(texts) < FEWEST_PROMPTS:
            raise InputError(f"{info.name} brings no prompts of its own; give --prompts FILE, one prompt a line")
        return texts
    try:
        texts = [line.strip() for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"prompts {str(file)!r} cannot be read as UTF-8 text: {error}") from None
    if len(texts) < FEWEST_PROMPTS:
        raise InputError(f"{str(file)!r} has {counted(len(texts), 'prompt')}; at least {FEWEST_PROMPTS} are needed")
    return texts


def summary(polynomial: Polynomial) -> str:
    """The fit in two lines: coefficients, how good it is, and what threshold it allows."""
    numbers = ", ".join(f"{c:.6g}" for c in polynomial.coefficients)
    return (
        f"polynomial (highest power first): {numbers}\n"
        f"{polynomial.source}; R² {polynomial.r2:.3f}, probe changes {polynomial.low:.3g} to {polynomial.high:.3g}; "
        f"a threshold above {polynomial.least():.3g} skips steps"
    )
