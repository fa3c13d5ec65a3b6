"""The report as a Markdown page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastdiffusers.bench.extras import extras
from fastdiffusers.bench.report import STAGES
from fastdiffusers.bench.table import effect_text, engaged_text, heading, latency_text, number, quality_texts, seconds

REPLAYED = (
    "replayed: the decisions of the prompt with the middle number of computed steps, on a FLUX-shaped model with "
    "random weights (hidden size 1024, 256 + 64 tokens); `skipped step there`: one in which nothing was computed but "
    "what the cache always runs, beside an uncached one"
)


def markdown(data: Mapping[str, Any]) -> str:
    """The tables, what each accelerator did, notes, the setting and the command that made it."""
    columns = extras(data)
    parts = [
        "# Bench",
        "\n\n".join(heading(data).splitlines()),
        _table(
            (
                *("arm", "engaged", "latency s (min–max)", "speed-up", "PSNR dB", "SSIM", "rel. L1", "peak MiB"),
                *(column.title for column in columns),
            ),
            [[*_figures(row), *(column.text(row) for column in columns)] for row in data["rows"]],
        ),
        _peers(data),
        _table(("seconds", *STAGES, "attach", "warm-up", "compile"), [_stages(row) for row in data["rows"]]),
        _list("What each accelerator did", [_record(row, record) for row in data["rows"] for record in row["records"]]),
        _list("Notes", data["notes"]),
        _list("Left out", [f"{item['name']}: {item['reason']}" for item in data["left_out"]]),
        _list("How it was measured", _method(data)),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _figures(row: Mapping[str, Any]) -> list[str]:
    engaged = engaged_text(row)
    loud = engaged if engaged in ("yes", "–") else f"**{engaged}**"
    speedup = number(row["speedup"], 2)
    if row["speedup_range"] and row["distinguishable"] is not None:
        low, high = row["speedup_range"]
        speedup += f" ({low:.2f}–{high:.2f})" + (" not distinguishable" if not row["distinguishable"] else "")
    name = f"`{row['accel']}`" + (f" (control of `{row['control_of']}`)" if row["control_of"] else "")
    return [name, loud, latency_text(row), speedup, *quality_texts(row), number(row["peak_memory_mb"], 0)]


def _stages(row: Mapping[str, Any]) -> list[str]:
    values = [*(row["stages"][name] for name in STAGES), row["attach_s"], row["warmup_s"], row["compile_s"]]
    return [f"`{row['accel']}`", *map(seconds, values)]


def _record(row: Mapping[str, Any], record: Mapping[str, Any]) -> str:
    if record["engaged"]:
        return f"`{row['accel']}`: {effect_text(record)}"
    return f"`{row['accel']}`: {record['name']} **did not engage**: {record['reason']}"


def _peers(data: Mapping[str, Any]) -> str:
    if not data.get("peers"):
        return ""
    rows = [
        [
            f"{peer['name']} `{peer['setting']}`",
            number(peer["speedup"], 2),
            *(number(peer[key], digits) for key, digits in (("psnr", 1), ("ssim", 3), ("rel_l1", 3))),
            number(None if peer["computed"] is None else 100 * peer["computed"], 0),
        ]
        for peer in data["peers"]
    ]
    header = ("measured elsewhere", "speed-up over its own uncached run", "PSNR dB", "SSIM", "rel. L1", "computed %")
    return _table(header, rows)


def _has_features(data: Mapping[str, Any]) -> bool:
    return any((row["quality"] or {}).get("features") is not None for row in data["rows"])


def _method(data: Mapping[str, Any]) -> list[str]:
    settings, model = data["settings"], data["model"]
    latency = data["rows"][0]["latency"] if data["rows"] else None
    return [
        f"model {model['name']}, {model['dtype']}, sha256 `{model['sha256']}`",
        f"{latency['n'] if latency else 0} interleaved rounds; attach, warm-up and compile are not in the latency",
        "quality against the baseline's picture of the same prompt and seed, "
        f"mean over {len(settings['prompts'])} prompts",
        f"peak memory: {data['peak_memory_method']}",
        *([REPLAYED] if any(row.get("replay") for row in data["rows"]) else []),
        *(["features: Euclidean distance in the 64 features of the scorer"] if _has_features(data) else []),
        f"prompts: {'; '.join(settings['prompts'])} (seeds {', '.join(map(str, settings['seeds']))})",
        *([f"command: `{data['command']}`"] if data["command"] else []),
    ]


def _list(title: str, lines: list[str]) -> str:
    return "\n".join([f"## {title}", "", *(f"- {_flat(line)}" for line in lines)]) if lines else ""


def _table(header: tuple[str, ...], rows: list[list[str]]) -> str:
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return "\n".join([*lines, *("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows)])


def _flat(text: str) -> str:
    return " ".join(text.split())
