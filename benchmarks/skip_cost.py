"""What a skipped step costs, beside a computed one, where the overhead weighs as on real FLUX.

A FLUX-shaped transformer with random weights (hidden 1024, 4 double and 8 single blocks, 256 image and 64 text tokens)
is driven through a generation in which TeaCache computes every second step, so that both kinds are timed in turn.
Run: ``python benchmarks/skip_cost.py [--threads 2] [--steps 40] [--out FILE.json]``
"""

import argparse
import json
import os
import platform
import statistics
import time
from pathlib import Path
from types import SimpleNamespace

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--steps", type=int, default=40)
parser.add_argument("--out", type=Path)
arguments = parser.parse_args()

from fastdiffusers.environment import prepare  # noqa: E402

prepare(arguments.threads)

import numpy as np  # noqa: E402
import paddle  # noqa: E402

from fastdiffusers.context import StepContext  # noqa: E402
from fastdiffusers.models.transformer_flux import FluxTransformer2DModel, FluxTransformerConfig  # noqa: E402
from fastdiffusers.pipelines.pixels import position_ids  # noqa: E402
from fastdiffusers.recorder import Recorder  # noqa: E402
from fastdiffusers_caching.polynomial import Polynomial  # noqa: E402
from fastdiffusers_caching.teacache import TeaCacheLoop  # noqa: E402

paddle.seed(0)
model = FluxTransformer2DModel(
    FluxTransformerConfig(
        num_layers=4,
        num_single_layers=8,
        attention_head_dim=64,
        num_attention_heads=16,
        axes_dims_rope=(16, 24, 24),
        guidance_embeds=True,
    )
)
model.eval()
rope = model.rope(np.zeros((64, 3), np.float32), position_ids(32, 32))
inputs = (paddle.randn([1, 256, 64]), paddle.randn([1, 64, 4096]), paddle.randn([1, 768]))
context = StepContext()
recorder = Recorder(SimpleNamespace(), context)
log: list[tuple[str, bool]] = []
# a constant change of 1 against a threshold of 2: skipped, computed, skipped, computed …
recorder.patch(model, "block_loop", TeaCacheLoop(model.block_loop, recorder, 2.0, Polynomial((1.0,), "constant"), log))

seconds: dict[bool, list[float]] = {True: [], False: []}
with paddle.no_grad():
    for generation in range(2):  # the first one warms up
        log.clear()
        context.begin(np.linspace(1, 0, arguments.steps, endpoint=False))
        for step in range(arguments.steps):
            context.at(step)
            t = paddle.to_tensor([context.sigma], dtype="float32")
            started = time.perf_counter()
            model(*inputs, t, rope, paddle.to_tensor([3.5])).numpy()
            if generation:
                seconds[log[-1][1]].append(time.perf_counter() - started)
        context.end()
recorder.undo()

computed, skipped = statistics.median(seconds[True]), statistics.median(seconds[False])
result = {
    "command": f"python benchmarks/skip_cost.py --threads {arguments.threads} --steps {arguments.steps}",
    "machine": {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count()},
    "paddle": paddle.__version__,
    "computed_ms": round(1e3 * computed, 2),
    "skipped_ms": round(1e3 * skipped, 3),
    "ratio": round(skipped / computed, 5),
    "n": {"computed": len(seconds[True]), "skipped": len(seconds[False])},
}
print(json.dumps(result, indent=2))
if arguments.out:
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=2) + "\n")
