"""What `fastdiff calibrate` does: open a model, measure on its prompts, keep the result."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastdiffusers.counting import counted
from fastdiffusers.environment import prepare
from fastdiffusers.errors import InputError
from fastdiffusers.models.info import ModelInfo, describe
from fastdiffusers.options import build_config
from fastdiffusers_caching.polynomial import Polynomial, store

FEWEST_PROMPTS = 4
SEARCH_PROMPTS = 8  # drawn as one batch for every mask that a search tries
KINDS = ("teacache", "magcache", "static")


@dataclass(frozen=True)
class Run:
    """One calibration: the model, a file of prompts or None for the model's own, what to compute in."""

    model: str
    prompts: Path | None
    dtype: str = "float32"
    threads: int | None = None

    def teacache(self) -> tuple[str, Path]:
        """Fit the polynomial on uncached runs of the default setting; returns what was found and where it lies."""
        pipe, info, texts = self._open()
        # not before Paddle was started as it should be
        from fastdiffusers_caching.teacache import TeaCache, TeaCacheConfig

        with _bar(len(texts)) as progress:
            polynomial = TeaCache(TeaCacheConfig()).calibrate(pipe, texts, progress)["polynomial"]
        return summary(polynomial), store(polynomial, info)

    def magcache(self) -> tuple[str, Path]:
        """Measure the magnitudes on uncached runs of the default setting."""
        pipe, info, texts = self._open()
        from fastdiffusers_caching.magcache import MagCache, MagCacheConfig
        from fastdiffusers_caching.magnitude import keep_magnitudes

        with _bar(len(texts)) as progress:
            magnitudes = MagCache(MagCacheConfig()).calibrate(pipe, texts, progress)["magnitudes"]
        low, high = min(magnitudes.ratios), max(magnitudes.ratios)
        return f"{magnitudes.source}; ratios from {low:.4g} to {high:.4g}", keep_magnitudes(magnitudes, info)

    def static(self, budget: int, steps: int | None, order: int = 0, damping: float = 1.0) -> tuple[str, Path]:
        """Search the best mask of ``budget`` computed steps for a forecast, on the first eight prompts."""
        from fastdiffusers_caching.static import StaticConfig

        given = {"budget": budget, "steps": steps, "order": order, "damping": damping}
        build_config("static", StaticConfig, {name: value for name, value in given.items() if value is not None})
        pipe, info, texts = self._open()
        from fastdiffusers_caching.mask_search import search
        from fastdiffusers_caching.masks import keep_schedule

        texts = texts[:SEARCH_PROMPTS]
        with _bar(None) as progress:
            found, error = search(
                pipe,
                texts,
                budget,
                steps or info.default_setting.steps,
                lambda tried: progress(tried, 0),
                order,
                damping,
            )
        told = f"mask {found.bits}; relative L1 error of the latents {error:.4g} over {counted(len(texts), 'prompt')}"
        return told, keep_schedule(found, error, info, order, damping)

    def _open(self) -> tuple[Any, ModelInfo, list[str]]:
        import fastdiffusers

        info = describe(self.model)
        texts = calibration_prompts(info, self.prompts)
        prepare(self.threads)
        return fastdiffusers.load(self.model, self.dtype), info, texts


@contextmanager
def _bar(total: int | None) -> Iterator[Callable[[int, int], None]]:
    """A progress bar on stderr where that is a terminal."""
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), disable=not sys.stderr.isatty(), transient=True) as bar:
        task = bar.add_task("calibrating", total=total)
        yield lambda done, _: bar.update(task, completed=done)


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
