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
from pathlib import Path

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--steps", type=int, default=40)
parser.add_argument("--out", type=Path)
arguments = parser.parse_args()

from fastdiffusers.environment import prepare  # noqa: E402

prepare(arguments.threads)

import paddle  # noqa: E402

from fastdiffusers.bench.large_model import LargeModel  # noqa: E402
from fastdiffusers.caching.cache import Cache  # noqa: E402
from fastdiffusers.models.info import describe  # noqa: E402
from fastdiffusers_caching.polynomial import Polynomial  # noqa: E402
from fastdiffusers_caching.teacache import design  # noqa: E402


class EverySecond(Cache):
    """TeaCache with a constant change of 1 against a threshold of 2: skipped, computed, skipped, computed …"""

    def designs(self, info):
        return (design(2.0, Polynomial((1.0,), "constant")),)


model = LargeModel()
sigmas = [1 - i / arguments.steps for i in range(arguments.steps)]
seconds: dict[bool, list[float]] = {True: [], False: []}
for generation in range(2):  # the first one warms up
    cache = EverySecond(None)
    taken = model.run(sigmas, cache, describe("flux-emoji"))
    for mark, second in zip(cache.effect().stats["pattern"], taken, strict=True):
        if generation:
            seconds[mark == "x"].append(second)

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
