"""The table of an evaluation, as Markdown."""

from __future__ import annotations

from typing import Any

COLUMNS = ("pictures", "steps", "FD", "± chance", "excess", "KID × 1000", "CLIP", "PSNR", "SSIM", "diversity",
           "s / picture")  # fmt: skip


def markdown(report: dict[str, Any]) -> str:
    """The report in words and one table."""
    model = report["model"]
    lines = [
        "# Few-step students against their teacher",
        "",
        f"{model['name']} ({model['sha256'][:12]}), N = {report['n']}, {report['different_captions']} different "
        f"captions, guidance {report['guidance']:g}. FD: Fréchet distance on the scorer's 64 features to "
        f"{report['reference']} of the same captions and other seeds; its floor (two sets of the teacher) is "
        f"**{report['floor']:.4f}**, excess is what lies above. PSNR and SSIM: to the "
        f"teacher's picture of the same noise, first {report['paired']}. "
        "Diversity: distance between 16 seeds of a caption, relative to the teacher's.",
        "",
        "| " + " | ".join(COLUMNS) + " |",
        "|---|" + "---:|" * (len(COLUMNS) - 1),
    ]
    lines += ["| " + " | ".join(_cells(row)) + " |" for row in report["rows"]]
    if report.get("command"):
        lines += ["", f"Command: `{report['command']}`"]
    return "\n".join(lines) + "\n"


def _cells(row: dict[str, Any]) -> list[str]:
    return [
        f"`{row['label']}`",
        str(row["steps"]),
        f"{row['fd']:.4f}",
        f"{row['fd_std']:.4f}",
        f"{row['fd_excess']:.4f}",
        f"{1e3 * row['kid']:.2f} ± {1e3 * row['kid_error']:.2f}",
        f"{row['clip']:.3f}",
        "–" if row["psnr"] is None else f"{row['psnr']:.1f}",
        "–" if row["ssim"] is None else f"{row['ssim']:.3f}",
        f"{row['diversity']:.2f}",
        "–" if row["latency"] is None else f"{row['latency']:.3f}",
    ]
