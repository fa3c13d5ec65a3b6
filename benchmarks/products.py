"""How much of an eager step are matrix products? Those of every linear layer and of attention alone, and the step, in
turn, on the larger model (hidden size 1024, 256 + 64 tokens).

Run: ``python benchmarks/products.py [--blocks 4,8] [--threads 2] [--rounds 5] [--out FILE.json]``. The share is the
median over rounds of products / step; what an engine that fuses all else away could gain at most is 1 / share.
"""

import argparse
import json
import statistics
import time
from pathlib import Path


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blocks", default="4,8")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()

    from fastdiffusers.environment import prepare

    prepare(given.threads)
    import paddle

    from fastdiffusers.bench.large_model import HEADS, SIDE, TEXT_TOKENS, LargeModel
    from fastdiffusers.bench.machine import describe_machine

    blocks = [int(part) for part in given.blocks.split(",")]
    model = LargeModel(*blocks)
    image, text = SIDE * SIDE, TEXT_TOKENS
    pairs = []

    def count(layer, inputs):
        rows = inputs[0].reshape([-1, inputs[0].shape[-1]])
        pairs.append((paddle.randn(rows.shape), layer.weight))

    linear = [layer for layer in model.transformer.sublayers() if isinstance(layer, paddle.nn.Linear)]
    hooks = [layer.register_forward_pre_hook(count) for layer in linear]
    model.run([1.0, 0.5])
    for hook in hooks:
        hook.remove()
    pairs = pairs[: len(pairs) // 2]  # of one of the two steps
    tokens = paddle.randn([1, HEADS, image + text, 64])
    scores = paddle.randn([1, HEADS, image + text, image + text])

    def products():
        for x, weight in pairs:
            paddle.matmul(x, weight)
        for _ in range(sum(blocks)):
            paddle.matmul(tokens, tokens, transpose_y=True)
            paddle.matmul(scores, tokens)

    flop = sum(2 * x.shape[0] * w.shape[0] * w.shape[1] for x, w in pairs)
    flop += sum(blocks) * 4 * HEADS * (image + text) ** 2 * 64
    rounds = []
    with paddle.no_grad():
        products()
        for _ in range(given.rounds):
            started = time.perf_counter()
            products()
            alone = time.perf_counter() - started
            step = model.run([1.0, 0.5])[1]
            rounds.append((alone, step))
            print(f"products {alone * 1e3:.0f} ms, step {step * 1e3:.0f} ms", flush=True)
    result = {
        "blocks": blocks,
        "threads": given.threads,
        "machine": describe_machine(),
        "gflop": round(flop / 1e9, 1),
        "products_ms": [round(alone * 1e3, 1) for alone, _ in rounds],
        "step_ms": [round(step * 1e3, 1) for _, step in rounds],
        "share": round(statistics.median(alone / step for alone, step in rounds), 3),
    }
    print(json.dumps({key: value for key, value in result.items() if key != "machine"}))
    if given.out:
        given.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
