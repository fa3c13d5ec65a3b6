"""Other projects' caches on the embedded model, as points for the frontier: same weights, prompts and noise, in torch.

    python benchmarks/peers/peers.py --quality            # fidelity to each one's own uncached picture; may be loaded
    python benchmarks/peers/peers.py --timing             # speed relative to the uncached run; wants a quiet machine

Runs where torch, diffusers, cache-dit and peft are installed (versions as in the results); Paddle is not needed. Writes
``benchmarks/results/peers.json`` after every arm and passes over what is there already, so that it can be stopped.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "cli")]

import torch  # noqa: E402
from arms import ARMS, Arm, attached, by_cache_dit, decode, draw, load  # noqa: E402
from counting import Work  # noqa: E402

from fastdiffusers.files import atomic_write  # noqa: E402
from fastdiffusers.metrics import psnr, rel_l1, ssim  # noqa: E402
from fastdiffusers_cli.prompts import read_prompts  # noqa: E402

GUIDANCE = 3.5
PACKAGES = ("torch", "diffusers", "transformers", "cache-dit")

Point = dict[str, Any]


def mean(values: list[float]) -> float | None:
    return statistics.fmean(values) if values else None


class Results:
    """The results file: one point for each cache, setting and number of steps; ``about`` says what they are of."""

    def __init__(self, path: Path, **about: Any) -> None:
        self.path = path
        self.content: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
        if any(self.content.get(key) != about[key] for key in ("prompts", "guidance", "versions")):
            self.content = {}  # figures of other pictures
        self.content = {**about, "machine": self.content.get("machine"), "points": self.content.get("points", [])}

    def get(self, arm: Arm, steps: int) -> Point:
        """The arm's figures, empty if there are none."""
        own = {"name": arm.name, "setting": arm.setting, "steps": steps}
        return next((point for point in self.content["points"] if own.items() <= point.items()), own)

    def put(self, arm: Arm, steps: int, **figures: Any) -> None:
        """Add figures to the arm's."""
        point = self.get(arm, steps)
        if point not in self.content["points"]:
            self.content["points"].append(point)
        point.update(figures)
        print(f"{steps} steps, {arm.name}, {arm.setting}: {figures}", flush=True)

    def save(self) -> None:
        with atomic_write(self.path) as temporary:
            temporary.write_text(json.dumps(self.content, indent=1) + "\n")


def measure_quality(pipes: dict[bool, Any], prompts: list[str], steps: int, results: Results) -> None:
    """Every arm's pictures against the uncached ones, which are drawn once."""
    todo = [arm for arm in ARMS if results.get(arm, steps).get("n", 0) < len(prompts)]
    if not todo:
        return
    plain = [draw(pipes[False], prompt, seed, steps, GUIDANCE) for seed, prompt in enumerate(prompts)]
    pictures = [decode(pipes[False], latents) for latents in plain]
    for arm in todo:
        pipe = pipes[by_cache_dit(arm)]
        work = Work(pipe)
        ratios, alike, distances, computed = [], [], [], []
        for seed, prompt in enumerate(prompts):
            work.clear()
            with attached(pipe, arm, steps), work.watched():
                latents = draw(pipe, prompt, seed, steps, GUIDANCE)
            picture = decode(pipe, latents)
            ratios.append(psnr(picture, pictures[seed]))
            alike.append(ssim(picture, pictures[seed]))
            distances.append(rel_l1(latents.numpy(), plain[seed].numpy()))
            computed.append(work.computed())
        finite = [ratio for ratio in ratios if ratio != float("inf")]
        results.put(
            arm,
            steps,
            psnr=mean(finite),
            ssim=mean(alike),
            rel_l1=mean(distances),
            rel_l1_worst=max(distances),
            computed=mean(computed),
            identical=len(ratios) - len(finite),
            n=len(prompts),
        )
        results.save()


def measure_speed(pipe: Any, arms: list[Arm], prompts: list[str], steps: int, results: Results) -> None:
    """Rounds of one prompt with every arm and without any, each beginning with another one; the first warms up."""
    entries: list[Arm | None] = [None, *arms]
    seconds: list[list[float]] = [[] for _ in entries]
    for turn, prompt in enumerate([prompts[0], *prompts]):
        for place in range(len(entries)):
            index = (turn + place) % len(entries)
            with attached(pipe, entries[index], steps):
                started = time.perf_counter()
                draw(pipe, prompt, max(turn - 1, 0), steps, GUIDANCE, output="pil")
                if turn:
                    seconds[index].append(time.perf_counter() - started)
    for arm, own in zip(arms, seconds[1:], strict=True):
        ratios = [plain / cached for plain, cached in zip(seconds[0], own, strict=True)]
        results.put(
            arm,
            steps,
            speedup=statistics.median(seconds[0]) / statistics.median(own),
            speedup_range=[min(ratios), max(ratios)],
            seconds=statistics.median(own),
            uncached_seconds=statistics.median(seconds[0]),
            rounds=len(prompts),
            threads=torch.get_num_threads(),
            load=round(os.getloadavg()[0], 2),
        )
    results.save()


def machine(threads: int) -> Point:
    """Nothing that names a host or a user."""
    return {
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": threads,
        "load": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quality", action="store_true", help="measure fidelity and the share computed")
    parser.add_argument("--timing", action="store_true", help="measure speed")
    parser.add_argument("--steps", type=int, nargs="+", default=[28, 50])
    parser.add_argument("--prompts", type=Path, default=ROOT / "benchmarks" / "suites" / "frontier-32.txt")
    parser.add_argument("--count", type=int, default=32, help="prompts used for --quality; prompt i has seed i")
    parser.add_argument("--rounds", type=int, default=6, help="prompts used for --timing")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "peers.json")
    options = parser.parse_args()
    if not (options.quality or options.timing):
        parser.error("say what to measure: --quality, --timing or both")

    torch.set_num_threads(options.threads)
    prompts = read_prompts(options.prompts)
    results = Results(
        options.out,
        command="python benchmarks/peers/peers.py --quality --timing",
        model="flux-emoji",
        prompts=options.prompts.name,
        guidance=GUIDANCE,
        versions={name: version(name) for name in PACKAGES},
    )
    pipes = {own: load() for own in (False, True)}  # whether cache-dit's
    for steps in options.steps:
        if options.quality:
            measure_quality(pipes, prompts[: options.count], steps, results)
        if options.timing:
            results.content["machine"] = machine(options.threads)
            for own, pipe in pipes.items():
                arms = [arm for arm in ARMS if by_cache_dit(arm) == own]
                measure_speed(pipe, arms, prompts[: options.rounds], steps, results)


if __name__ == "__main__":
    main()
