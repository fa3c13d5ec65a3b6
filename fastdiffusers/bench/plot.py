"""Speed-up against PSNR as a picture: the caches, plain sampling with fewer steps, and what others measured."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fastdiffusers.errors import MissingDependency
from fastdiffusers.files import atomic_write

SUFFIXES = (".png", ".svg")
MARKERS = "os^vDP*X<>hpd8"
PRODUCTS = "cache"  # the accelerator without a name of its own: its products share one look
SWEPT = frozenset({"threshold", "interval", "period", "mask", "budget"})  # a line leads from one to the next of these
Point = tuple[float, float, str]

LEGEND_LETTERS = 105
"""About so many letters of the legend fit under a panel."""


def require_matplotlib() -> None:
    """Raise `MissingDependency` now rather than after a bench of an hour."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise MissingDependency(
            "matplotlib is needed to draw: `pip install 'fastdiffusers[plot]'` or `pip install matplotlib`"
        ) from error


def front(points: Sequence[Point]) -> list[Point]:
    """Those than which no other is both faster and nearer, by speed-up."""
    best: list[Point] = []
    for point in sorted(points, key=lambda point: (-point[0], -point[1])):
        if not best or point[1] > best[-1][1]:
            best.append(point)
    return best[::-1]


def groups(data: Mapping[str, Any], replayed: bool = False) -> dict[str, list[Point]]:
    """(speed-up, PSNR, the arm's words) of every row, by what it is: a preset, ``cache``, or ``plain`` for fewer steps.

    ``replayed``: the speed-up of the replay. Rows without a PSNR (the same picture, a failure) have no place.
    """
    found: dict[str, list[Point]] = {}
    for row in data["rows"]:
        speed = (row.get("replay") or {}).get("speedup") if replayed else row["speedup"]
        psnr = (row["quality"] or {}).get("psnr")
        if row["error"] or speed is None or psnr is None or not math.isfinite(psnr):
            continue
        name = row["accel"].partition(":")[0] if row["records"] else "plain"
        found.setdefault(name, []).append((speed, psnr, row["accel"]))
    return {name: sorted(points) for name, points in found.items()}


def lines(points: Sequence[Point]) -> list[list[Point]]:
    """The points of one preset, apart where more differs than how much is skipped (another scope or estimator)."""
    found: dict[tuple[str, ...], list[Point]] = {}
    for point in points:
        words = point[2].split(":")[1:]
        found.setdefault(tuple(sorted(w for w in words if w.partition("=")[0] not in SWEPT)), []).append(point)
    return list(found.values())


def draw(data: Mapping[str, Any], path: Path) -> None:
    """One panel for the times measured, another for those replayed on the larger model, if there are any."""
    require_matplotlib()
    logging.getLogger("matplotlib").setLevel(logging.WARNING)  # it tells of its fonts where others log more
    from matplotlib.figure import Figure

    titles = [(False, f"measured: {data['model']['name']}, {data['settings']['steps']} steps")]
    if groups(data, replayed=True).keys() - {"plain"}:
        titles.append((True, "the same decisions replayed on a larger model (random weights)"))
    figure = Figure(figsize=(7.2 * len(titles), 9.0), layout="constrained")
    panels, lists = figure.subplots(2, len(titles), squeeze=False, sharey="row", height_ratios=(3.2, 1))
    for panel, below, (replayed, title) in zip(panels, lists, titles, strict=True):
        best = _panel(panel, groups(data, replayed), [] if replayed else data.get("peers") or [], title)
        below.axis("off")
        entries = [f"{i:2d}  {speed:.2f}×  {psnr:.1f} dB  {name}" for i, (speed, psnr, name) in enumerate(best, 1)]
        text = below.text(0, 1, "\n".join(entries), family="monospace", fontsize=7, va="top", transform=below.transAxes)
        text.set_in_layout(False)  # it may be wider than the panel, which shall not shrink for that
    panels[0].set_ylabel("PSNR against the uncached picture, dB (nearer →)")
    handles = {}
    for panel in panels:
        handles.update(dict(zip(*panel.get_legend_handles_labels()[::-1], strict=True)))
    widest = max(map(len, handles))
    columns = max(2, min(5 * len(titles) - 2, LEGEND_LETTERS * len(titles) // (widest + 6)))
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=columns, fontsize=8.5)
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=140, format=path.suffix[1:].lower())


def _panel(panel: Any, found: Mapping[str, list[Point]], peers: Sequence[Mapping[str, Any]], title: str) -> list[Point]:
    """Draw one panel; returns the front, whose points it numbers."""
    from matplotlib import colormaps

    colours = colormaps["tab20"].colors
    presets = sorted(found.keys() - {"plain", PRODUCTS})
    best = front([point for name, points in found.items() if name != "plain" for point in points])
    panel.plot(
        *_xy(best), color="gold", linewidth=7, alpha=0.55, solid_capstyle="round", zorder=1, label="Pareto front"
    )
    if "plain" in found:
        panel.plot(*_xy(found["plain"]), "k--", linewidth=1.6, marker=".", zorder=2, label="plain, fewer steps")
    for i, name in enumerate(presets):
        look = {"color": colours[2 * i % 20 + i // 10], "marker": MARKERS[i % len(MARKERS)], "label": name}
        for line in lines(found[name]):
            panel.plot(*_xy(line), linewidth=0.9, markersize=7.5, markeredgecolor="white", mew=0.5, zorder=3, **look)
    if PRODUCTS in found:
        look = {"color": "black", "marker": "x", "label": "unpublished products (cache:…)"}
        panel.plot(*_xy(found[PRODUCTS]), linestyle="none", markersize=6.5, zorder=4, **look)
    for i, name in enumerate(sorted({str(peer["name"]) for peer in peers})):
        own = sorted((p["speedup"], p["psnr"], "") for p in peers if p["name"] == name and p["psnr"] is not None)
        look = {"color": f"{0.2 + 0.15 * (i % 4)}", "marker": MARKERS[i % len(MARKERS)], "label": f"{name} (elsewhere)"}
        panel.plot(*_xy(own), linestyle=":", fillstyle="none", markersize=8, zorder=3, **look)
    for i, (speed, psnr, _) in enumerate(best, 1):
        place = (4, 5) if i % 2 else (-12, -12)  # neighbours may be close to each other
        panel.annotate(str(i), (speed, psnr), place, textcoords="offset points", fontsize=8, weight="bold", zorder=6)
    panel.set_xscale("log", base=2)
    panel.set_xlabel("speed-up (faster →)")
    panel.set_title(title, fontsize=10.5)
    _ticks(panel)
    panel.grid(alpha=0.25)
    return best


def _ticks(panel: Any) -> None:
    """Speed-ups as a reader thinks of them, instead of powers of 2."""
    from matplotlib.ticker import FixedLocator, NullLocator

    low, high = panel.get_xlim()
    steps = [0.5, 0.75, 1, 1.25, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10, 14, 20]
    panel.xaxis.set_major_locator(FixedLocator([step for step in steps if low <= step <= high]))
    panel.xaxis.set_minor_locator(NullLocator())
    panel.xaxis.set_major_formatter(lambda value, _: f"{value:g}×")


def _xy(points: Sequence[Point]) -> tuple[list[float], list[float]]:
    return [point[0] for point in points], [point[1] for point in points]
