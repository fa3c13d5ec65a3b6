"""What each engine makes of drawing a picture, alone and under a cache: one process, the arms in turn.

Models: the embedded one, and ``large``, the same pipeline around a transformer with random weights (hidden size 1024,
4 + 8 blocks, 256 image and 64 text tokens), whose pictures are noise: only its times and errors mean anything.

A turn attaches an arm, draws once untimed (compiled in round one, read from disk afterwards, and checked against the
eager blocks), draws some pictures timed, and takes the arm off. Every round begins with another arm. Ratios are
medians over rounds of eager / arm within a round; errors and PSNR are against the eager blocks under the same cache.
An arm ``SPEC@N`` draws in N steps, as a student would: its ratio is to the eager blocks in ``--steps``, its errors are
against an arm ``none@N`` that comes before it.

Run: ``python benchmarks/engines.py [--model emoji|large] [--batch 1] [--threads 1] [--rounds 3] [--steps 8]
[--cache SPEC|none] [--arm SPEC …] [--out FILE.json]`` (and FILE.md beside it). Programs take up to 10 GB on disk for
``large``: set FASTDIFFUSERS_COMPILED_MB=12000 and FASTDIFFUSERS_HOME to a folder that may go afterwards.
"""

import argparse
import datetime
import json
import statistics
import time
from pathlib import Path

ARMS = ("none", "to-static", "inference:onednn=off", "inference:onednn=on", "inference:dtype=bfloat16")
OPTIONAL = ("onnxruntime", "onnxruntime:dtype=int8")  # with the extra onnx
CACHE = "static:mask=0/1/3/5/7"
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
SIDE, TEXT_TOKENS = 16, 64


def load(model):
    """(pipeline, arguments of a call)."""
    import fastdiffusers

    pipe = fastdiffusers.load("flux-emoji")
    if model == "emoji":
        return pipe, {}
    import dataclasses

    import paddle

    from fastdiffusers.models.transformer_flux import FluxTransformer2DModel

    paddle.seed(0)
    config = dataclasses.replace(
        pipe.transformer.config, attention_head_dim=64, num_attention_heads=16, axes_dims_rope=(16, 24, 24)
    )
    pipe.transformer = FluxTransformer2DModel(config)
    pipe.transformer.eval()
    side = 2 * SIDE * pipe.vae_scale_factor
    return pipe, {"height": side, "width": side, "max_sequence_length": TEXT_TOKENS}


def split(arm, steps):
    """(accelerators, number of steps) of an arm's word."""
    words, _, own = arm.rpartition("@")
    return (words, int(own)) if words and own.isdecimal() and int(own) else (arm, steps)


def drawer(pipe, more, batch, clock):
    """``draw(steps) -> (seconds of the denoising, seconds of the whole call, output)``; to be made before anything
    attaches."""
    marks = []
    pipe.context.on_begin(lambda: marks.append(clock()))  # first of all, so that what others do then is in the time

    def draw(steps):
        marks.clear()
        started = clock()
        out = pipe(
            "a red apple",
            seed=1,
            num_inference_steps=steps,
            num_images_per_prompt=batch,
            output_type="np",
            callback=lambda step, sigma, x: marks.append(clock()),
            **more,
        )
        ended = clock()
        return marks[-1] - marks[0], ended - started, out

    return draw


def turn(pipe, draw, words, steps, pictures, clock):
    """One arm's turn: what it took (medians of the timed pictures), what it drew, and its compiler's record."""
    from fastdiffusers.session import accelerate

    with accelerate(pipe, words, steps=steps) as session:
        started = clock()
        draw(steps)
        first = clock() - started
        drawn = [draw(steps) for _ in range(pictures)]
        records = [record for record in session.report() if record.stats.get("label")]
    denoise, total = (statistics.median(one[place] for one in drawn) for place in (0, 1))
    return {"first": first, "denoise": denoise, "total": total}, drawn[0][2], records[0] if records else None


def measure(pipe, draw, arms, caches, rounds, steps, pictures, clock):
    """Rows by (arm, cache)."""
    from fastdiffusers.metrics import psnr

    order = [(arm, cache) for cache in caches for arm in arms]
    rows = {key: {"turns": [], "compile_s": [], "load_s": []} for key in order}
    for number in range(rounds):
        eager = {}
        shift = number * len(arms) // rounds if rounds < len(arms) else number % len(arms)
        for arm, cache in order[shift:] + order[:shift]:
            spec, count = split(arm, steps)
            words = [part for part in (spec, cache) if part != "none"]
            times, out, record = turn(pipe, draw, ",".join(words) or None, count, pictures, clock)
            row = rows[arm, cache]
            row["turns"].append(times)
            if record is not None:
                row["engaged"] = record.engaged and row.get("engaged", True)
                row["compile_s"].append(record.stats["compile_s"])
                row["load_s"].append(record.stats["load_s"])
            if spec == "none":
                eager[cache, count] = out
            elif (cache, count) in eager:
                base = eager[cache, count]
                row["latents_off"] = float(abs(out.latents - base.latents).max() / abs(base.latents).max())
                found = [float(psnr(a, b)) for a, b in zip(out.images, base.images, strict=True)]
                row["psnr"] = min(found) if min(found) < float("inf") else None  # None: the same picture
            print(f"round {number + 1}: {arm:26s} {cache:24s} {times['total']:8.2f} s", flush=True)
    return rows


def summed_up(rows):
    """Medians, ratios to plain sampling, and of an arm under a cache its share of the product of both gains."""
    found = {}
    plain = rows["none", "none"]["turns"]
    for (arm, cache), row in rows.items():
        turns = row.pop("turns")
        for what in ("denoise", "total"):
            row[f"{what}_s"] = round(statistics.median(one[what] for one in turns), 4)
            ratios = [base[what] / one[what] for base, one in zip(plain, turns, strict=True)]
            row[f"{what}_speedup"] = round(statistics.median(ratios), 3)
            row[f"{what}_range"] = [round(min(ratios), 3), round(max(ratios), 3)]
        row["first_s"] = [round(one["first"], 2) for one in turns]
        found[arm, cache] = row
    for (arm, cache), row in found.items():
        if arm != "none" and "@" not in arm and cache != "none":
            product = found[arm, "none"]["denoise_speedup"] * found["none", cache]["denoise_speedup"]
            row["share_of_product"] = round(row["denoise_speedup"] / product, 3)
    return [{"arm": arm, "cache": cache, **row} for (arm, cache), row in found.items()]


def table(result):
    """The rows in Markdown."""
    lines = [
        f"{result['model']}, batch {result['batch']}, {result['steps']} steps, {result['threads']} thread(s), "
        f"{result['rounds']} rounds, {result['clock']} clock, {result['machine']['cpu']}, "
        f"load {result['machine']['load']} before. {result['note']}".strip(),
        "",
        "| engine | cache | denoising, s | × eager | picture, s | × eager | of the product | latents off | PSNR dB | "
        "first picture, s: compiling, from disk |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in result["rows"]:
        low, high = row["denoise_range"]
        off = f"{row['latents_off']:.1e}" if "latents_off" in row else "–"
        quality = "–" if row.get("psnr") is None else f"{row['psnr']:.1f}"
        share = f"{row['share_of_product']:.2f}" if "share_of_product" in row else "–"
        lines.append(
            f"| `{row['arm']}` | `{row['cache']}` "
            f"| {row['denoise_s']:.3f} | {row['denoise_speedup']:.2f} ({low:.2f}–{high:.2f}) "
            f"| {row['total_s']:.3f} | {row['total_speedup']:.2f} | {share} | {off} | {quality} "
            f"| {row['first_s'][0]:.1f}, {min(row['first_s']):.1f} |"
        )
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=("emoji", "large"), default="emoji")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--pictures", type=int, default=1, help="timed pictures in a turn, of which the median counts")
    parser.add_argument("--cache", default=CACHE, help="one more set of arms under this cache; none: without")
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="cpu: processor time, on a machine with others")
    parser.add_argument("--arm", action="append", help="an accelerator, SPEC or SPEC@STEPS; default: every engine")
    parser.add_argument("--note", default="", help="what should be known about this run")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()

    from fastdiffusers.environment import prepare

    environment = prepare(given.threads)
    from fastdiffusers.bench.machine import describe_machine
    from fastdiffusers_compile.choice import missing_for_onnx

    arms = ["none", *(given.arm or (*ARMS[1:], *(() if missing_for_onnx() else OPTIONAL)))]
    machine = describe_machine()
    clock = CLOCKS[given.clock]
    pipe, more = load(given.model)
    draw = drawer(pipe, more, given.batch, clock)
    caches = list(dict.fromkeys(("none", given.cache)))
    rows = measure(pipe, draw, arms, caches, given.rounds, given.steps, given.pictures, clock)
    result = {
        "date": datetime.date.today().isoformat(),
        "model": given.model,
        "batch": given.batch,
        "steps": given.steps,
        "threads": environment.threads,
        "rounds": given.rounds,
        "clock": given.clock,
        "note": given.note,
        "machine": machine,
        "rows": summed_up(rows),
    }
    print(table(result))
    if given.out:
        given.out.parent.mkdir(parents=True, exist_ok=True)
        given.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        given.out.with_suffix(".md").write_text(table(result), encoding="utf-8")


if __name__ == "__main__":
    main()
