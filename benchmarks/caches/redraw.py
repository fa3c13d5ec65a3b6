"""The table and the plot of a bench's JSON report, drawn again, perhaps with points that others measured.

Run: ``python benchmarks/caches/redraw.py benchmarks/results/frontier.json [--peers benchmarks/results/peers.json]``
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from fastdiffusers.bench.markdown import markdown
from fastdiffusers.bench.peers import read_peers
from fastdiffusers.bench.plot import draw
from fastdiffusers.errors import UserError
from fastdiffusers.files import atomic_write


def redraw(report: Path, peers: Path | None) -> None:
    """Write the Markdown and the PNG beside ``report``."""
    data = json.loads(report.read_text(encoding="utf-8"))
    if peers is not None:
        data["peers"] = read_peers(peers, data["settings"]["steps"])
    with atomic_write(report.with_suffix(".md")) as temporary:
        temporary.write_text(markdown(data), encoding="utf-8")
    draw(data, report.with_suffix(".png"))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("report", type=Path)
    parser.add_argument("--peers", type=Path)
    arguments = parser.parse_args()
    try:
        redraw(arguments.report, arguments.peers)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
