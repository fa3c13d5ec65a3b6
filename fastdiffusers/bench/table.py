"""The report as tables for a terminal of 80 columns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from fastdiffusers.bench.extras import Extra, extras
from fastdiffusers.bench.report import STAGES
from fastdiffusers.counting import counted

LABEL = 24


def show(data: Mapping[str, Any], console: Console) -> None:
    """Print the figures, the stages, what each accelerator did, and the notes."""
    console.print(heading(data), highlight=False, markup=False)
    if data["rows"]:
        console.print()
        console.print(_figures(data))
        console.print()
        console.print(_stages(data))
        if columns := extras(data):
            console.print()
            console.print(_extras(data, columns))
    lines = Table.grid(padding=(0, 1))
    for row in data["rows"]:
        for record in row["records"]:
            if record["engaged"]:
                lines.add_row("·", Text(f"{row['accel']}: {effect_text(record)}"))
    for note in data["notes"]:
        lines.add_row(Text("!", style="bold yellow"), Text(note, style="bold yellow"))
    for item in data["left_out"]:
        lines.add_row("–", Text(f"left out: {item['name']}: {item['reason']}", style="dim"))
    if lines.row_count:
        console.print()
        console.print(lines)


def heading(data: Mapping[str, Any]) -> str:
    """Model, workload and machine in three lines."""
    settings, machine, model = data["settings"], data["machine"], data["model"]
    count = len(settings["prompts"])
    device = machine["cpu"] if machine["device"] == "cpu" else machine["device"]
    partial = f"PARTIAL: interrupted after {settings['rounds']} of {settings['rounds_planned']} rounds\n"
    return (
        (partial if data["partial"] else "")
        + f"{model['name']} · {settings['width']}x{settings['height']} · {counted(settings['steps'], 'step')} · "
        f"guidance {settings['guidance']:g} · {counted(count, 'prompt')} × {counted(settings['runs'], 'run')}\n"
        f"{device} · {counted(machine['threads'], 'thread')} · Paddle {machine['paddle']} · load {machine['load']}"
    )


def latency_text(row: Mapping[str, Any]) -> str:
    """``1.23 (1.20–1.31)``: median, smallest and largest seconds."""
    latency = row["latency"]
    if latency is None:
        return "–"
    return f"{seconds(latency['median'])} ({seconds(latency['min'])}–{seconds(latency['max'])})"


def quality_texts(row: Mapping[str, Any]) -> tuple[str, str, str]:
    """PSNR, SSIM and relative L1 as a table shows them; ``same`` for pictures equal to the baseline's."""
    quality = row["quality"]
    if quality is None:
        return "–", "–", "–"
    psnr = "same" if quality["identical"] else f"{quality['psnr']:.1f}"
    ssim = "–" if quality["ssim"] is None else f"{quality['ssim']:.3f}"
    return psnr, ssim, f"{quality['rel_l1']:.3f}"


def engaged_text(row: Mapping[str, Any]) -> str:
    """``yes``, ``NO``, ``PARTLY``, ``FAILED``; a dash for plain sampling, where there is nothing to engage."""
    if row["error"]:
        return "FAILED"
    if not row["records"]:
        return "–"
    if row["engaged"]:
        return "yes"
    return "PARTLY" if any(record.get("engaged_runs") for record in row["records"]) else "NO"


def effect_text(record: Mapping[str, Any]) -> str:
    """What an accelerator that engaged did: each different effect once, three at most."""
    effects = record.get("effects") or [record["effect"]]
    more = f"; … ({len(effects)} different)" if len(effects) > 3 else ""
    notes = "".join(f"; {note}" for note in record.get("notes", ()))
    return f"{record['name']} engaged: {'; '.join(effects[:3])}{more}{notes}"


def seconds(value: float | None) -> str:
    """Seconds with three significant digits."""
    if value is None:
        return "–"
    return f"{value:.3f}" if value < 1 else f"{value:.2f}" if value < 10 else f"{value:.1f}"


def number(value: float | None, digits: int) -> str:
    """A number with so many digits after the point, or a dash."""
    return "–" if value is None else f"{value:.{digits}f}"


def _figures(data: Mapping[str, Any]) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="bold")
    table.add_column("arm", overflow="fold", min_width=12)
    table.add_column("engaged")
    for name in ("time s (min–max)", "×", "PSNR", "SSIM", "relL1", "MiB"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in data["rows"]:
        cells = [
            engaged_text(row),
            latency_text(row),
            _speedup(row),
            *quality_texts(row),
            number(row["peak_memory_mb"], 0),
        ]
        loud = bool(row["error"]) or not row["engaged"]
        label = _folded(row["accel"]) + (" [dim](control)[/dim]" if row["control_of"] else "")
        table.add_row(label, *cells, style="bold red" if loud else None)
    return table


def _stages(data: Mapping[str, Any]) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="dim", style="dim")
    table.add_column("seconds", overflow="fold", min_width=12)
    for name in (*STAGES, "attach", "warm-up", "compile"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in data["rows"]:
        apart = [row["attach_s"], row["warmup_s"], row["compile_s"]]
        table.add_row(_folded(row["accel"]), *map(seconds, [*(row["stages"][name] for name in STAGES), *apart]))
    return table


def _extras(data: Mapping[str, Any], columns: list[Extra]) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="bold")
    table.add_column("arm", overflow="fold", min_width=12)
    for column in columns:
        table.add_column(column.short, justify="right", no_wrap=True)
    for row in data["rows"]:
        table.add_row(_folded(row["accel"]), *(column.text(row) for column in columns))
    return table


def _speedup(row: Mapping[str, Any]) -> str:
    mark = "?" if row["distinguishable"] is False else ""
    return number(row["speedup"], 2) + mark


def _folded(label: str) -> str:
    """An arm's words, broken before its options and after its commas where they would be long in one line."""
    broken = label if len(label) <= LABEL else label.replace(",", ",\n").replace(":", "\n :")
    return escape(broken)
