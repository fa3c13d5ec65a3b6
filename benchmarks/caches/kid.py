"""Whether caches change what a model draws, not only this picture or that: kernel distance to uncached pictures.

Each cache draws 2048 pictures (64 prompts, 32 seeds each). They are compared with uncached ones of the same prompts and
other seeds, in the 64 features of the scorer. The floor is the same for uncached pictures of the cache's seeds: what
lies within the error of it cannot be told from no cache at all. Pictures are kept; started again, it goes on.

Run: ``python benchmarks/caches/kid.py [--workers 4] [--steps 28] [--accel SPEC …] [--out FILE.json]``
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fastdiffusers.environment import prepare
from fastdiffusers.errors import UserError
from fastdiffusers.evaluation import Crew, PictureSet, draw, judge
from fastdiffusers.files import atomic_write, cache_dir
from fastdiffusers.metrics.kid import KernelDistance, kernel_distance
from fastdiffusers.models.info import ModelInfo, describe

HERE = Path(__file__).resolve().parent
PROMPTS = HERE.parent / "suites" / "grid-64.txt"
OUT = HERE.parent / "results" / "kid.json"
SEEDS = 32  # of each prompt
RECOMMENDED = (  # the winners of the frontier first, so that a run cut short has them
    "static:mask=0/1/2/3/4/6/9/13/18/24:order=2:damping=0.75",
    "static:mask=0/1/2/3/4/5/7/9/12/15/19/23/25/26:order=2:damping=0.75",
    "cache:indicator=teacache:threshold=0.18:estimator=taylor:order=2:damping=0.75",
    "teacache:threshold=0.25",
    "taylorseer:interval=3",
    "dbcache:first=1:warmup=4:max_consecutive=4:threshold=0.12:order=1",
    "seacache:threshold=0.3",
    "sortblock:period=5",
    "teablockcache:threshold=0.1:taylor=1",
    "firstblock-taylor:threshold=0.15",
    "fbcache:threshold=0.12",
    "magcache:threshold=0.12",
    "blockdance:interval=2",
)


def read_prompts(path: Path) -> list[str]:
    """One prompt a line; lines that begin with # are none."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def set_of(info: ModelInfo, model: str, prompts: Sequence[str], first: int, steps: int, accel: str = "") -> PictureSet:
    """Every prompt ``SEEDS`` times; picture i has seed ``first + i``."""
    many = tuple(prompt for prompt in prompts for _ in range(SEEDS))
    seeds = tuple(range(first, first + len(many)))
    return PictureSet(model, info.sha256, many, seeds, steps, accel=accel)


def row(name: str, found: KernelDistance, floor: KernelDistance) -> dict[str, Any]:
    """One line of the report."""
    return {
        "accel": name,
        "kid": found.mean,
        "error": found.error,
        "std": found.std,
        "blocks": found.blocks,
        "excess": found.mean - floor.mean,
    }


def markdown(report: dict[str, Any]) -> str:
    """The table; distances in thousandths."""
    lines = [
        "# Kernel distance of cached pictures",
        "",
        f"{report['model']['name']}, {report['steps']} steps, {report['pictures']} pictures each of "
        f"{report['prompts']} prompts, against uncached ones of other seeds; "
        "in the scorer's 64 features, × 1000, ± standard error.",
        "",
        "| pictures | distance × 1000 | above the floor |",
        "|---|---|---|",
    ]
    for entry in report["rows"]:
        name = f"`{entry['accel']}`" if entry["accel"] != "none" else "uncached (the floor)"
        excess = "" if entry["accel"] == "none" else f"{1e3 * entry['excess']:+.3f}"
        lines.append(f"| {name} | {1e3 * entry['kid']:.3f} ± {1e3 * entry['error']:.3f} | {excess} |")
    return "\n".join([*lines, "", f"Command: `{report['command']}`"]) + "\n"


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    options.add_argument("--model", default="flux-emoji", help="embedded model or folder")
    options.add_argument("--steps", type=int, default=28)
    options.add_argument("--accel", action="append", help="a cache; repeat it (the recommended ones)")
    options.add_argument("--workers", type=int, default=4, help="processes of one thread each")
    options.add_argument("--work", type=Path, default=cache_dir() / "evaluation", help="pictures are kept here")
    options.add_argument("--out", type=Path, default=OUT, help="JSON; the Markdown is written beside it")
    arguments = options.parse_args()
    prepare()
    info = describe(arguments.model)
    model, prompts = str(info.path.resolve()), read_prompts(PROMPTS)
    accels = arguments.accel or list(RECOMMENDED)
    many = len(prompts) * SEEDS
    root = arguments.work / f"{info.name}-{info.sha256[:12]}"
    reference, plain = (set_of(info, model, prompts, first, arguments.steps) for first in (many, 0))
    cached = [set_of(info, model, prompts, 0, arguments.steps, accel) for accel in accels]
    sets = [reference, plain, *cached]
    with Crew(arguments.workers) as crew:
        for item in sets:  # one after the other: an interrupted run has whole sets
            draw([item], root, crew)
        judged = judge(sets, root, crew)
    others, *own = (item.features for item in judged)
    found = [kernel_distance(features, others) for features in own]
    rows = [row(name, distance, found[0]) for name, distance in zip(["none", *accels], found, strict=True)]
    report = {
        "model": {"name": info.name, "sha256": info.sha256},
        "steps": arguments.steps,
        "prompts": len(prompts),
        "pictures": many,
        "rows": rows,
        "command": " ".join(["python", "benchmarks/caches/kid.py", *sys.argv[1:]]),
    }
    with atomic_write(arguments.out) as temporary:
        temporary.write_text(json.dumps(report, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    with atomic_write(arguments.out.with_suffix(".md")) as temporary:
        temporary.write_text(markdown(report), encoding="utf-8")
    print(markdown(report))


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted; what is drawn is kept, start again to go on", file=sys.stderr)
        sys.exit(130)
