"""Our side of `compilers.py`: a worker whose arms are ``none`` (eager) and accelerators."""

import sys
from pathlib import Path
from types import SimpleNamespace

from fastdiffusers.environment import prepare

prepare()

import numpy as np  # noqa: E402
import paddle  # noqa: E402
from turns import serve, timed  # noqa: E402

from fastdiffusers.context import StepContext  # noqa: E402
from fastdiffusers.models import FluxTransformer2DModel  # noqa: E402
from fastdiffusers.options import build_config  # noqa: E402
from fastdiffusers.plugins import registry  # noqa: E402
from fastdiffusers.recorder import Recorder  # noqa: E402
from fastdiffusers.request import parse  # noqa: E402
from fastdiffusers.weights import load_layer  # noqa: E402


def main(folder: Path) -> None:
    given = dict(np.load(folder / "given.npz"))
    network = load_layer(FluxTransformer2DModel, folder)
    inputs = [paddle.to_tensor(given[name]) for name in ("latents", "text", "pooled")]
    guidance = paddle.to_tensor(given["guidance"]) if "guidance" in given else None
    rope = network.rope(given["text_ids"], given["image_ids"])
    context = StepContext()

    def velocity(level):
        latents, text, pooled = inputs
        t = paddle.full([latents.shape[0]], level, dtype="float32")
        return network(latents, text, pooled, t, rope, guidance).numpy()

    def run(arm, steps):
        recorder = Recorder(SimpleNamespace(), context)
        sigmas = [1 - step / (steps + 1) for step in range(steps + 1)]
        effect = None
        try:
            if arm != "none":
                (request,) = parse(arm)
                spec = registry().accelerators[request.name]
                accelerator = spec.load()(build_config(spec.name, spec.config, request.options))
                info = SimpleNamespace(family="flux", name="peer", dtype="float32")
                accelerator.attach(SimpleNamespace(transformer=network, context=context, info=info), recorder)
            with paddle.no_grad():
                context.begin(sigmas)

                def step(number):
                    context.at(number)
                    found = velocity(sigmas[number])
                    if number == 0:
                        np.save(folder / "ours.npy", found)

                answer = timed(step, steps)
            if arm != "none":
                effect = accelerator.effect()
        finally:
            context.end()
            recorder.undo()
        off = np.load(folder / "ours.npy") - given["velocity"]
        answer["off"] = float(np.abs(off).max() / np.abs(given["velocity"]).max())
        return answer if effect is None else answer | {"effect": effect.text, "engaged": effect.engaged}

    serve(run, {"paddle": paddle.__version__})


main(Path(sys.argv[1]))
