"""What each engine makes of a denoising step: both models, one process, the arms in turn round after round.

A round attaches every arm, draws a few steps with it, and takes it off. The first step of an attach is told apart: it
pays for the program (compiled in round one, read from disk afterwards) and for the check against the eager blocks.
Ratios are those of one run, medians of all other steps; the least time beside them shows how quiet the machine was.

Run: ``python benchmarks/engines.py [--model emoji|large] [--batch 1] [--threads 1] [--rounds 3] [--arm SPEC …]``
"""

import argparse
import itertools
import json
import statistics
import time
from pathlib import Path
from types import SimpleNamespace

ARMS = ("none", "to-static", "inference:onednn=off", "inference:onednn=on", "inference:dtype=bfloat16")
OPTIONAL = ("onnxruntime", "onnxruntime:dtype=int8")  # with the extra onnx
STEPS = 5
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


def emoji(batch, clock):
    """Draws with the embedded model; gives (seconds of each step, final latents and picture, record)."""
    import fastdiffusers
    from fastdiffusers.session import accelerate

    pipe = fastdiffusers.load("flux-emoji")

    def run(words):
        with accelerate(pipe, None if words == "none" else words, steps=STEPS) as session:
            marks = [clock()]
            out = pipe(
                "a red apple",
                seed=1,
                num_inference_steps=STEPS,
                num_images_per_prompt=batch,
                output_type="np",
                callback=lambda step, sigma, x: marks.append(clock()),
            )
            record = next(iter(session.report()), None)
            return steps_of(marks), out.latents, out.images, record

    return run


def large(batch, clock):
    """As `emoji`, on random weights of the size at which overhead weighs as on real FLUX."""
    from fastdiffusers.bench.large_model import LargeModel
    from fastdiffusers.options import build_config
    from fastdiffusers.plugins import registry
    from fastdiffusers.request import parse

    if batch != 1:
        raise SystemExit("the large model has batch 1")
    model = LargeModel()
    info = SimpleNamespace(family="flux", name="large", dtype="float32")
    sigmas = [1 - step / STEPS for step in range(STEPS)]

    def run(words):
        accelerator = None
        if words != "none":
            (request,) = parse(words)
            spec = registry().accelerators[request.name]
            accelerator = spec.load()(build_config(spec.name, spec.config, request.options))
        seconds = model.run(sigmas, accelerator, info, clock)
        return seconds, None, None, None if accelerator is None else accelerator.effect()

    return run


def steps_of(marks):
    """Differences of moments."""
    return [after - before for before, after in itertools.pairwise(marks)]


def measure(run, arms, rounds):
    """Rows, one for each arm."""
    from fastdiffusers.metrics import psnr

    rows = {arm: {"first_s": [], "steps": [], "stats": []} for arm in arms}
    base = None
    for number in range(rounds):
        for arm in arms[number % len(arms) :] + arms[: number % len(arms)]:
            seconds, latents, images, effect = run(arm)
            row = rows[arm]
            row["first_s"].append(round(seconds[0], 3))
            row["steps"] += seconds[1:]
            if effect is not None:
                row["stats"].append({key: effect.stats[key] for key in ("compile_s", "load_s", "greatest_error")})
            if latents is not None and arm == "none":
                base = latents, images
            elif latents is not None and base is not None:
                row["latents_off"] = float(abs(latents - base[0]).max() / abs(base[0]).max())
                row["psnr"] = float(psnr(images[0], base[1][0]))
    plain = rows["none"]["steps"]
    for row in rows.values():
        steps = row.pop("steps")
        row["step_ms"] = round(statistics.median(steps) * 1e3, 2)
        row["least_ms"] = round(min(steps) * 1e3, 2)
        row["speedup"] = round(statistics.median(plain) / statistics.median(steps), 3)
        row["speedup_least"] = round(min(plain) / min(steps), 3)
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=("emoji", "large"), default="emoji")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="cpu: processor time, on a machine with others")
    parser.add_argument("--arm", action="append", help="an accelerator; default: every engine")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()

    from fastdiffusers.environment import prepare

    environment = prepare(given.threads)
    from fastdiffusers.bench.machine import describe_machine
    from fastdiffusers_compile.choice import missing_for_onnx

    arms = ["none", *(given.arm or (*ARMS[1:], *(() if missing_for_onnx() else OPTIONAL)))]
    rows = measure({"emoji": emoji, "large": large}[given.model](given.batch, CLOCKS[given.clock]), arms, given.rounds)
    result = {
        "model": given.model,
        "batch": given.batch,
        "threads": environment.threads,
        "rounds": given.rounds,
        "clock": given.clock,
        "machine": describe_machine(),
        "rows": rows,
    }
    for arm, row in rows.items():
        extra = f"  latents off {row['latents_off']:.2g}, {row['psnr']:.1f} dB" if "psnr" in row else ""
        times = f"{row['step_ms']:9.2f} ms (least {row['least_ms']:.2f})"
        ratio = f"{row['speedup']:.2f}x (least {row['speedup_least']:.2f}x)"
        first = f"first step {row['first_s'][0]:.2f} s, later {row['first_s'][-1]:.2f} s"
        print(f"{arm:28s} {times}  {ratio}  {first}{extra}", flush=True)
    if given.out:
        given.out.parent.mkdir(parents=True, exist_ok=True)
        given.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
