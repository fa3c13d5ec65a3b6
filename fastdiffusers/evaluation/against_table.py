"""The table of an evaluation, as Markdown."""

from __future__ import annotations

from typing import Any

SCORER = "scorer"
COLUMNS = ("pictures", "steps", f"FD ({SCORER})", "± chance", "excess", f"KID × 1000 ({SCORER})", f"CLIP ({SCORER})",
           "PSNR", "SSIM", "diversity", "s / picture")  # fmt: skip


def columns(report: dict[str, Any]) -> list[str]:
    """The headings, each figure with the network that it comes from."""
    backbones = report["backbones"]
    clip = COLUMNS.index(f"CLIP ({SCORER})")
    before, after = list(COLUMNS[:clip]), list(COLUMNS[clip + 1 :])
    if "clip_scorer" in report["rows"][0]:
        before.append(f"CLIP ({_name(backbones['clip'])})")
    before.append(COLUMNS[clip])
    if "fid" in backbones:
        name = _name(backbones["fid"])
        before += [f"FID ({name})", "excess", f"KID × 1000 ({name})"]
    return before + after


def _name(label: str) -> str:
    """Without the hash, which stands above the table."""
    return label.rpartition(" (")[0]


def markdown(report: dict[str, Any]) -> str:
    """The report in words and one table."""
    model, headings = report["model"], columns(report)
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
        f"Networks: {_networks(report['backbones'])}.",
        *_fid(report),
        "",
        "| " + " | ".join(headings) + " |",
        "|---|" + "---:|" * (len(headings) - 1),
    ]
    lines += ["| " + " | ".join(_cells(row)) + " |" for row in report["rows"]]
    if report.get("command"):
        lines += ["", f"Command: `{report['command']}`"]
    return "\n".join(lines) + "\n"


def _networks(backbones: dict[str, str]) -> str:
    words = {"fd": "FD", "kid": "KID", "clip": "CLIP score", "fid": "FID", "kid_inception": "KID"}
    of: dict[str, list[str]] = {}
    for figure, label in backbones.items():
        of.setdefault(label, []).append(words[figure])
    return "; ".join(f"{', '.join(figures)} by {label}" for label, figures in of.items())


def _fid(report: dict[str, Any]) -> list[str]:
    if "fid_floor" not in report:
        return []
    note = f" {report['fid_note']}." if report["fid_note"] else ""
    return [f"FID's floor is **{report['fid_floor']:.3f}**.{note}"]


def _cells(row: dict[str, Any]) -> list[str]:
    return [
        f"`{row['label']}`",
        str(row["steps"]),
        f"{row['fd']:.4f}",
        f"{row['fd_std']:.4f}",
        f"{row['fd_excess']:.4f}",
        f"{1e3 * row['kid']:.2f} ± {1e3 * row['kid_error']:.2f}",
        f"{row['clip']:.3f}",
        *([f"{row['clip_scorer']:.3f}"] if "clip_scorer" in row else []),
        *(_by_inception(row) if "fid" in row else []),
        "–" if row["psnr"] is None else f"{row['psnr']:.1f}",
        "–" if row["ssim"] is None else f"{row['ssim']:.3f}",
        f"{row['diversity']:.2f}",
        "–" if row["latency"] is None else f"{row['latency']:.3f}",
    ]


def _by_inception(row: dict[str, Any]) -> list[str]:
    kernel = f"{1e3 * row['kid_inception']:.2f} ± {1e3 * row['kid_inception_error']:.2f}"
    return [f"{row['fid']:.3f}", f"{row['fid_excess']:.3f}", kernel]
