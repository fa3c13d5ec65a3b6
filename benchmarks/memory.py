"""Does memory stay flat with a cache attached? Many generations in one session, each cache in a process of its own.

After every 25 generations: the bytes of all live tensors, by Paddle's own account, and the resident size of the
process. Flat means: the same bytes at every mark (a state of 60 kB to 3 MB kept from each generation would show at
once), and a resident size whose greatest value in the last third is within 1 % of that in the first: it goes up and
down by a few MiB as the allocator gives pages back, and up by some 3 kB a generation that Paddle keeps, uncached too.

Run: ``python benchmarks/memory.py [--generations 300] [--steps 8] [--accel SPEC …] [--out FILE.json]``
"""

import argparse
import gc
import json
import subprocess
import sys
from pathlib import Path

ACCELERATORS = (
    "none",
    "teacache",
    "dbcache:threshold=0.3:first=1:warmup=2:order=1",
    "taylorseer:mode=module:order=2:interval=2",
    "sortblock:period=4",
    "cache:scope=blocks:indicator=seacache:estimator=newton:order=2:nodes=sigma",
)
PROMPTS = ("a red apple", "a kitty", "an owl on a white background", "a rocket on a blue background")
EVERY = 25


def measure(accel: str, generations: int, steps: int, threads: int) -> dict[str, object]:
    """One session in this process; tensor bytes and resident MiB after every 25th generation."""
    from fastdiffusers.environment import prepare

    prepare(threads)
    import paddle

    import fastdiffusers

    pipe = fastdiffusers.load("flux-emoji")
    marks = []
    with fastdiffusers.accelerate(pipe, accel, steps=steps) as session:
        for generation in range(1, generations + 1):
            prompt = PROMPTS[generation % len(PROMPTS)]
            pipe(prompt, seed=generation, num_inference_steps=steps)
            if generation % EVERY == 0:
                gc.collect()
                live = paddle.base.core.host_memory_stat_current_value("Allocated", 0)
                marks.append({"generation": generation, "tensor_bytes": live, "resident_mib": resident_mib()})
        report = session.report()
    return {
        "accel": accel,
        "effect": report[0].effect if report else "",
        "state_bytes": report[0].stats["bytes"] if report else 0,
        "marks": marks,
        **verdict(marks),
        "paddle": paddle.__version__,
    }


def verdict(marks: list[dict[str, float]]) -> dict[str, object]:
    """Whether memory stayed flat over the marks."""
    third = max(len(marks) // 3, 1)
    first, last = (max(mark["resident_mib"] for mark in part) for part in (marks[:third], marks[-third:]))
    same = len({mark["tensor_bytes"] for mark in marks}) == 1
    growth = round(last - first, 2)
    return {"tensor_bytes_constant": same, "resident_growth_mib": growth, "flat": same and growth < 0.01 * first}


def resident_mib() -> float:
    """VmRSS of this process (Linux)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return round(int(line.split()[1]) / 1024, 2)
    raise SystemExit("no VmRSS in /proc/self/status; this benchmark needs Linux")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--generations", type=int, default=300)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--accel", action="append")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--here", action="store_true", help="measure the one --accel in this process; prints JSON")
    given = parser.parse_args()
    if given.here:
        print(json.dumps(measure(given.accel[0], given.generations, given.steps, given.threads)))
        return
    sizes = [f"--generations={given.generations}", f"--steps={given.steps}", f"--threads={given.threads}"]
    arms = []
    for accel in given.accel or ACCELERATORS:
        command = [sys.executable, __file__, "--here", f"--accel={accel}", *sizes]
        arms.append(json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout))
        arm = arms[-1]
        print(
            f"{arm['accel']}: {'flat' if arm['flat'] else 'NOT FLAT'}, tensors "
            f"{'constant' if arm['tensor_bytes_constant'] else 'GROW'}, resident {arm['resident_growth_mib']:+.2f} MiB "
            f"from the first third of {given.generations} generations to the last",
            flush=True,
        )
    command_line = f"python benchmarks/memory.py {' '.join(sizes[:2])}"
    result = {"command": command_line, "flat": all(arm["flat"] for arm in arms), "arms": arms}
    if given.out:
        given.out.parent.mkdir(parents=True, exist_ok=True)
        given.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
