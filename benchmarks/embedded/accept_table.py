"""What the embedded model fulfils, as Markdown."""

from __future__ import annotations

from typing import Any

LIMITS: tuple[tuple[str, tuple[str, ...], float, str], ...] = (
    ("blind test: pictures named rightly, of 64", ("blind", "right"), 56, "d"),
    ("VAE on held-out concepts, white ground, dB", ("vae", "white", "psnr"), 29, ".2f"),
    ("VAE on held-out concepts, coloured grounds, dB", ("vae", "colour", "psnr"), 29, ".2f"),
    ("retrieval among 100 captions / that of real renderings", ("retrieval", "ratio"), 0.85, ".3f"),
    ("background colour obeyed, pairs seen in training", ("grounds", "seen", "obeyed"), 0.95, ".3f"),
    ("background colour obeyed, pairs never seen", ("grounds", "never_seen", "obeyed"), 0.95, ".3f"),
    ("white background obeyed where asked for", ("grounds", "white", "obeyed"), 0.95, ".3f"),
    ("distance of 16 seeds / that of 16 data pictures", ("diversity", "ratio"), 0.7, ".3f"),
)


def value_at(report: dict[str, Any], path: tuple[str, ...]) -> Any:
    """The value at a path of keys, None where one is missing."""
    found: Any = report
    for key in path:
        found = found.get(key) if isinstance(found, dict) else None
    return found


def markdown(report: dict[str, Any]) -> str:
    """The limits first, then what has none."""
    lines = [
        "# The embedded model",
        "",
        f"Model {report['model']['sha256'][:12]}, scorer {report['scorer']['sha256'][:12]}, 28 steps, guidance "
        f"{report['guidance_scale']:g}, {report['size']} px. Size and side are not offered in captions.",
        "",
        "| what | value | at least | |",
        "|---|---:|---:|---|",
    ]
    for what, path, least, form in LIMITS:
        value = value_at(report, path)
        shown = "not measured" if value is None else format(value, form)
        lines.append(f"| {what} | {shown} | {least:g} | {'' if value is None else 'yes' if value >= least else 'NO'} |")
    if "retrieval" in report:
        part = report["retrieval"]
        lines += [
            "",
            f"Retrieval: {part['model']:.3f}, real renderings {part['data']:.3f} "
            f"(N = {part['n']}; CLIP {part['clip']:.3f} and {part['clip_data']:.3f}).",
        ]
    if "grounds" in report:
        counts = ", ".join(f"{part['n']} {name.replace('_', ' ')}" for name, part in report["grounds"].items())
        lines += ["", f"Grounds: nearest of eight colours and white to the border's median ({counts}). Came instead:"]
        lines += [
            f"- {name.replace('_', ' ')}: " + (", ".join(f"{k} {v}" for k, v in part["instead"].items()) or "nothing")
            for name, part in report["grounds"].items()
        ]
    if "diversity" in report:
        part = report["diversity"]
        lines += [
            "",
            f"Diversity: mean pairwise distance {part['model']:.3f}, data {part['data']:.3f} "
            f"({part['prompts']} prompts).",
        ]
    for name, title in (
        ("guidance", "Guidance, same noise"),
        ("image_to_image", "Image-to-image towards another concept"),
        ("true_guidance", "True classifier-free guidance, embedded guidance 1"),
    ):
        if name in report:
            lines += ["", title + ":", "", *_table(report[name])]
    if "held_out_concepts" in report:
        part = report["held_out_concepts"]
        lines += [
            "",
            f"Held-out concepts ({part['concepts']}, never trained on): the label is first among 100 in "
            f"{part['model']:.3f} of the pictures; real renderings: {part['data']:.3f}.",
        ]
    return "\n".join(lines)


def _table(rows: list[dict[str, Any]]) -> list[str]:
    names = list(rows[0])
    lines = ["| " + " | ".join(name.replace("_", " ") for name in names) + " |", "|" + "---:|" * len(names)]
    return lines + ["| " + " | ".join(f"{row[name]:.3g}" for name in names) + " |" for row in rows]
