"""A denoising step of the same exported weights, by our engines and by torch: two processes that take turns.

Run: ``python benchmarks/peers/compilers.py --python /path/to/torch/bin/python [--model emoji|large] [--blocks 4,8]
[--batch 1] [--threads 1] [--rounds 5] [--steps 3] [--arm SPEC …] [--out FILE]``. The other Python has torch, diffusers
and numpy; torch.compile needs a C++ compiler besides. An arm that fails is reported as such, the others go on.

In a round every arm has one turn, ours and torch's alternating, and every other round goes backward. A ratio is the
median over rounds of ours / theirs within a round; ``least`` compares the quickest steps. With one thread the
processor's clock tells more than the wall's on a machine that has other work. Both sides run with the same number of
threads, the same MKL switch, and keep freed memory.
"""

import argparse
import datetime
import itertools
import json
import sys
import tempfile
from pathlib import Path

OURS = ("none", "to-static", "inference:onednn=on", "inference:dtype=bfloat16")
THEIRS = ("eager float32", "compile float32", "eager bfloat16", "compile bfloat16")
HERE = Path(__file__).resolve().parent


def export(model, blocks, batch, folder):
    """Write weights, inputs and the eager answer to ``folder``; returns what the model is, in words."""
    import numpy as np
    import paddle

    from fastdiffusers.pipelines.pixels import position_ids
    from fastdiffusers.weights import save_layer

    paddle.seed(1)
    if model == "emoji":
        import fastdiffusers

        network, side, tokens = fastdiffusers.load("flux-emoji").transformer, 8, 16
    else:
        from fastdiffusers.bench.large_model import SIDE, TEXT_TOKENS, LargeModel

        network, side, tokens = LargeModel(*blocks).transformer, SIDE, TEXT_TOKENS
    config = network.config
    given = {
        "latents": paddle.randn([batch, side * side, config.in_channels]).numpy(),
        "text": paddle.randn([batch, tokens, config.joint_attention_dim]).numpy(),
        "pooled": paddle.randn([batch, config.pooled_projection_dim]).numpy(),
        "text_ids": np.zeros((tokens, 3), np.float32),
        "image_ids": position_ids(2 * side, 2 * side).astype(np.float32),
    }
    if config.guidance_embeds:
        given["guidance"] = np.full(batch, 3.5, np.float32)
    with paddle.no_grad():
        given["velocity"] = network(
            *(paddle.to_tensor(given[name]) for name in ("latents", "text", "pooled")),
            paddle.ones([batch]),
            network.rope(given["text_ids"], given["image_ids"]),
            paddle.to_tensor(given["guidance"]) if "guidance" in given else None,
        ).numpy()
    save_layer(network, folder)
    np.savez(folder / "given.npz", **given)
    width = config.num_attention_heads * config.attention_head_dim
    return f"hidden {width}, {config.num_layers} + {config.num_single_layers} blocks, {side * side} + {tokens} tokens"


def measure(sides, rounds, steps):
    """Turns of every arm, by name; an arm that failed has its error instead."""
    pairs = list(itertools.zip_longest(*(arms for _, arms in sides)))
    order = [(side, arm) for pair in pairs for side, arm in enumerate(pair) if arm is not None]
    turns = {arm: [] for _, arm in order}
    for number in range(rounds):
        for side, arm in order if number % 2 == 0 else order[::-1]:
            if isinstance(turns[arm], str):
                continue
            answer = sides[side][0].turn(arm, steps)
            turns[arm] = answer["error"] if "error" in answer else [*turns[arm], answer]
            told = answer.get("error") or "{:.1f} ms, processor {:.1f}".format(
                *(min(answer[clock]) * 1e3 for clock in ("wall", "cpu"))
            )
            print(f"round {number + 1}: {arm:28s} {told}", file=sys.stderr, flush=True)
    return turns


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", required=True, help="of the environment with torch and diffusers")
    parser.add_argument("--model", choices=("emoji", "large"), default="emoji")
    parser.add_argument("--blocks", default="4,8", help="double and single blocks of the large model")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--arm", action="append", help="an accelerator of ours; default: every engine")
    parser.add_argument("--note", default="", help="what should be known about this run")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()

    from turns import Worker, ratio, summary

    from fastdiffusers.environment import prepare

    prepare(given.threads)
    from fastdiffusers.bench.machine import describe_machine

    ours = ("none", *(given.arm or OURS[1:]))
    with tempfile.TemporaryDirectory(prefix="fastdiff-peers-") as name:
        blocks = tuple(int(part) for part in given.blocks.split(","))
        words = export(given.model, blocks, given.batch, Path(name))
        workers = []
        try:
            for python, script in ((sys.executable, "compilers_ours.py"), (given.python, "compilers_torch.py")):
                workers.append(Worker([python, str(HERE / script), name], given.threads))
            turns = measure(list(zip(workers, (ours, THEIRS), strict=True)), given.rounds, given.steps)
        finally:
            for worker in workers:
                worker.close()
    good = {arm: found for arm, found in turns.items() if not isinstance(found, str)}
    result = {
        "date": datetime.date.today().isoformat(),
        "model": f"{given.model}: {words}",
        "batch": given.batch,
        "threads": given.threads,
        "rounds": given.rounds,
        "steps": given.steps,
        "note": given.note,
        "machine": describe_machine(),
        "versions": {**workers[0].about, **workers[1].about},
        "arms": {arm: summary(found) for arm, found in good.items()},
        "failed": {arm: found for arm, found in turns.items() if isinstance(found, str)},
        "ours_over_theirs": {
            arm: {peer: ratio(good[arm], good[peer]) for peer in THEIRS if peer in good} for arm in ours if arm in good
        },
    }
    text = json.dumps(result, indent=1)
    if given.out:
        given.out.write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
