"""Largest differences from diffusers on the golden files, as figures; the tests assert bounds on the same comparisons.

Run from the repository root: ``python benchmarks/parity.py``
"""

import sys
from pathlib import Path

from fastdiffusers.environment import prepare

prepare(1)

import numpy as np  # noqa: E402
import paddle  # noqa: E402
from PIL import Image  # noqa: E402
from safetensors.numpy import load_file  # noqa: E402

from fastdiffusers.models import FluxTransformer2DModel  # noqa: E402
from fastdiffusers.models.info import describe  # noqa: E402
from fastdiffusers.pipelines.flux import FluxPipeline  # noqa: E402
from fastdiffusers.weights import load_layer  # noqa: E402

GOLDEN = Path(__file__).resolve().parents[1] / "tests" / "golden"
sys.path.insert(0, str(GOLDEN))
from formula_weights import ids  # noqa: E402


def show(what: str, ours: np.ndarray, theirs: np.ndarray) -> None:
    """One line: the largest absolute difference."""
    print(f"{what:36} {np.abs(ours - theirs).max():.1e}")


for name in ("guidance", "plain"):
    folder = GOLDEN / "flux_transformer" / name
    model = load_layer(FluxTransformer2DModel, folder)
    case = load_file(folder / "case.safetensors")
    feed = {key: paddle.to_tensor(value) for key, value in case.items() if key != "output"}
    with paddle.no_grad():
        show(f"transformer, {name}", model(**feed, image_rotary_emb=model.rope(*ids(5, 4, 6))).numpy(), case["output"])

for name in ("dev", "schnell"):
    pipe = FluxPipeline.from_pretrained(describe(GOLDEN / "flux_pipeline" / name))
    golden = np.load(GOLDEN / "flux_pipeline" / f"{name}.npz")
    cases = {
        "two": {"prompt": ["a red apple", "grinning face"], "seed": 5},
        "cfg": {"prompt": "a red apple", "negative_prompt": "", "true_cfg_scale": 2.5, "seed": 7},
        "img2img": {"prompt": "a cat", "strength": 0.6, "seed": 9, "image": Image.fromarray(golden["picture"])},
    }
    for case_name, arguments in cases.items():
        out = pipe(num_inference_steps=28, height=24, width=32, output_type="latent", **arguments)
        show(f"28 steps, {name}-like, {case_name}", out.latents, golden[f"{case_name}.latent"])

pipe = FluxPipeline.from_pretrained(describe("flux-emoji"))
out = pipe("a red apple", seed=1, output_type="latent")
show("28 steps, flux-emoji", out.latents, np.load(GOLDEN / "flux_emoji.npz")["plain.latent"])
