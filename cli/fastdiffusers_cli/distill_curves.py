"""``fastdiff distill curves``: how trainings went, as a table and as a picture."""

from __future__ import annotations

from pathlib import Path


def curves(words: list[str], out: Path | None = None, json: bool = False) -> None:
    """Print the validations of the trainings in ``words`` (output folders or logs), and draw all curves to ``out``."""
    from fastdiffusers.distillation.health import LIMITS
    from fastdiffusers.errors import InputError, one_of
    from fastdiffusers.training.curves import LOG, SUFFIXES, VALIDATED, draw_curves, read_curves
    from fastdiffusers_cli.output import print_json, print_table

    if not words:
        raise InputError(f"curves needs the output folder of a training, or its {LOG}: fastdiff distill curves FOLDER")
    if out is not None and out.suffix.lower() not in SUFFIXES:
        raise InputError(one_of("ending of --out:", out.suffix, SUFFIXES))
    found = [read_curves(Path(word)) for word in words]
    if out is not None:
        draw_curves(found, out, {name: (low, high) for name, (low, high, _) in LIMITS.items()})
    if json:
        print_json({"trainings": [one.to_dict() for one in found], "out": None if out is None else str(out)})
        return
    rows = [
        [one.name, row["step"], *(_figure(row.get(name)) for name in VALIDATED), "; ".join(row["warnings"])]
        for one in found
        for row in one.rows()
    ]
    if rows:
        print_table(
            ["training", "step", *VALIDATED, "out of limits"],
            rows,
            wrap=["training", "out of limits"],
            right=["step", *VALIDATED],
        )
        print()
    for one in found:
        print(f"{one.name}: {one.end}")
    if out is not None:
        print(f"drawn: {out}")


def _figure(value: float | None) -> str | None:
    return None if value is None else f"{value:.3f}"
