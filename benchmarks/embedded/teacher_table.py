"""The teacher's table as Markdown."""

from __future__ import annotations

from typing import Any

COLUMNS = ("steps", "schedule", "shift μ", "FD", "± chance", "excess", "excess / floor", "FD to data", "retrieval",
           "CLIP", "same-noise PSNR", "s / picture")  # fmt: skip


def markdown(report: dict[str, Any]) -> str:
    """The report in words and one table; what is not known yet is a dash."""
    real = report["real"]
    lines = [
        "# Teacher at few and many steps",
        "",
        f"Model {report['model']['sha256'][:12]}, scorer {report['scorer']['sha256'][:12]}, N = {report['n']}, "
        f"guidance {report['guidance_scale']:g}, {report['size']} px. Captions are drawn as in training: "
        f"{report['different_captions']} different ones of {report['concepts']} concepts, the same for all rows."
        + ("" if report["complete"] else " **Partial: the measurement is still running.**"),
        "",
        f"FD: Fréchet distance on the scorer's 64 features to {report['reference_steps']} steps of the same captions "
        f"from other seeds. Its floor, two such sets of {report['reference_steps']} steps: "
        f"**{_number(report['floor'])}**. ± chance is the standard deviation over bootstrap samples. FD to data: to "
        f"real renderings of the same captions (floor, real to real: {_number(real['floor'])}). Retrieval is among "
        f"100 captions (real renderings: {real['retrieval']:.3f}), CLIP the mean cosine of the scorer (real: "
        f"{real['clip']:.3f}). Same-noise PSNR: mean over {report['paired']} pictures against "
        f"{report['reference_steps']} unshifted steps from the same noise, in dB.",
        "",
        "*Uniform*: noise levels `linspace(1, 1/n, n)`, then 0, not shifted (μ = 0). *Best shift*: the levels "
        "e^μ / (e^μ + 1/σ − 1) with the μ of least FD on captions and seeds of their own; with 1 step no shift has an "
        "effect. `fastdiff infer` uses the model's own rule, μ = 0.46.",
        "",
        "| " + " | ".join(COLUMNS) + " |",
        "|" + "---:|" * len(COLUMNS),
    ]
    lines += ["| " + " | ".join(_cells(row)) + " |" for row in report["rows"]]
    if report["search"]["fd"]:
        lines += ["", "## Shifts that were tried", ""]
        lines += [
            f"- {steps} steps: " + ", ".join(f"μ {mu}: {_number(value)}" for mu, value in found.items())
            for steps, found in report["search"]["fd"].items()
        ]
        lines += [
            "",
            f"FD with {report['search']['n']} pictures a shift ({report['search']['n_many']} from 16 steps on): "
            "higher than in the table, as fewer pictures give a higher floor; compare within a line.",
        ]
    return "\n".join(lines)


def _cells(row: dict[str, Any]) -> list[str]:
    return [
        str(row["steps"]),
        row["schedule"],
        f"{row['mu']:g}",
        _number(row["fd"]),
        _number(row["fd_std"]),
        _number(row.get("fd_excess")),
        f"{row['excess_over_floor']:.2f}" if "excess_over_floor" in row else "–",
        _number(row["fd_real"]),
        f"{row['retrieval']:.3f}",
        f"{row['clip']:.3f}",
        f"{row['psnr']:.1f}" if row.get("psnr") is not None else "–",
        f"{row['latency']:.3f}" if "latency" in row else "–",
    ]


def _number(value: float | None) -> str:
    """Four decimals: the floor is a few thousandths."""
    return "–" if value is None else f"{value:.4f}"
