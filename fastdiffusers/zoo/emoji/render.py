"""From Iconify's SVG bodies to RGBA pixels, in parallel processes."""

from __future__ import annotations

import io
import multiprocessing
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import numpy as np
from PIL import Image

from fastdiffusers.errors import InputError, MissingDependency

WORKERS = 2
_OUTSIDE = re.compile(r"""(?:href\s*=\s*["']|url\(\s*["']?)(?!#)([^"')\s]*)""")


def svg_of(icons: dict[str, Any], name: str) -> str:
    """A whole SVG document for the icon `name` of an ``icons.json`` (its own size wins over the set's)."""
    icon = icons["icons"][name]
    left, top = icon.get("left", icons.get("left", 0)), icon.get("top", icons.get("top", 0))
    width = icon.get("width", icons.get("width", 16))
    height = icon.get("height", icons.get("height", 16))
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'viewBox="{left} {top} {width} {height}" width="{width}" height="{height}">{icon["body"]}</svg>'
    )


def check_renderer() -> None:
    """Raise `MissingDependency` now rather than after a download if SVG cannot be drawn here."""
    try:
        import cairosvg  # noqa: F401
    except ImportError as error:
        raise MissingDependency("cairosvg is needed to draw SVG: `pip install cairosvg` (our extra `data`)") from error
    except OSError as error:  # cairocffi found no shared library
        raise MissingDependency("the cairo library is needed to draw SVG; `apt-get install libcairo2`") from error


def render(svg: str, size: int) -> np.ndarray:
    """One SVG as uint8 [size, size, 4], straight alpha. References to anything outside the document are refused."""
    import cairosvg

    outside = _OUTSIDE.search(svg)
    if outside:
        raise InputError(f"an SVG asks for {outside.group(1)!r}; pictures may hold no outside references")
    png = cairosvg.svg2png(bytestring=svg.encode("utf-8"), output_width=size, output_height=size)
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGBA"), dtype=np.uint8)


def _render_one(job: tuple[str, int]) -> np.ndarray:
    return render(*job)


def render_all(
    svgs: Sequence[str], size: int, workers: int = WORKERS, done: Callable[[int], None] | None = None
) -> Iterator[np.ndarray]:
    """`render` for many, in order. ``done(count)`` is called after each picture."""
    # fork: no second import of the caller's main module; elsewhere than on Linux it is not safe
    context = multiprocessing.get_context("spawn")  # a fork could deadlock where Paddle's threads run already
    jobs = [(svg, size) for svg in svgs]
    if workers <= 1 or len(jobs) < 32:
        for count, job in enumerate(jobs, 1):
            yield _render_one(job)
            if done:
                done(count)
        return
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        for count, picture in enumerate(pool.map(_render_one, jobs, chunksize=16), 1):
            yield picture
            if done:
                done(count)
