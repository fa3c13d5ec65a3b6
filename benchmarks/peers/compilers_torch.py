"""Torch's side of `compilers.py`: eager and torch.compile, float32 and bfloat16, on the weights that we exported.

It runs in an environment with torch and diffusers and without Paddle.
"""

import os
import shutil
import sys
import time
from pathlib import Path

from turns import keep_freed_memory, serve, timed

keep_freed_memory()

import diffusers  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
from diffusers import FluxTransformer2DModel  # noqa: E402


def main(folder: Path) -> None:
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    given = dict(np.load(folder / "given.npz"))
    networks: dict[torch.dtype, torch.nn.Module] = {}
    compiled: dict[torch.dtype, torch.nn.Module] = {}

    def network(arm):
        how, name = arm.split()
        dtype = getattr(torch, name)
        if dtype not in networks:
            networks[dtype] = FluxTransformer2DModel.from_pretrained(folder, torch_dtype=dtype).eval()
        if how == "eager":
            return networks[dtype], dtype
        if dtype not in compiled:
            if shutil.which("g++") is None:
                raise RuntimeError("torch.compile needs a C++ compiler: install g++")
            compiled[dtype] = torch.compile(networks[dtype], fullgraph=True)
        return compiled[dtype], dtype

    def run(arm, steps):
        started = time.perf_counter()
        model, dtype = network(arm)
        built = time.perf_counter() - started
        tensors = {key: torch.from_numpy(value) for key, value in given.items() if key != "velocity"}
        inputs = {
            "hidden_states": tensors["latents"].to(dtype),
            "encoder_hidden_states": tensors["text"].to(dtype),
            "pooled_projections": tensors["pooled"].to(dtype),
            "txt_ids": tensors["text_ids"],
            "img_ids": tensors["image_ids"],
            "guidance": tensors.get("guidance"),
            "return_dict": False,
        }
        found = []

        def step(number):
            level = torch.full([len(given["latents"])], 1 - number / (steps + 1)).to(dtype)
            found.append(model(timestep=level, **inputs)[0].float().numpy())

        with torch.inference_mode():
            answer = timed(step, steps)
        answer["first"] += built
        answer["off"] = float(np.abs(found[0] - given["velocity"]).max() / np.abs(given["velocity"]).max())
        return answer

    serve(run, {"torch": torch.__version__, "diffusers": diffusers.__version__})


main(Path(sys.argv[1]))
