"""Golden runs of other projects' caches on the embedded model: diffusers' hooks and cache-dit's DBCache.

Run where torch, diffusers, cache-dit and peft are installed: ``python tests/golden/make_peers.py``. Writes
``peers.npz``: for every case and prompt the final packed latents (float32) and how many blocks and attention modules
each of the 28 steps ran (uint8); MagCache's blocks at 50 steps; the ratios that it calibrates; noise filtered by
SeaCache; some cases with true guidance and for two prompts at once.
"""

import contextlib
import io
import re
import sys
from pathlib import Path

import numpy as np
import torch
from diffusers.hooks import MagCacheConfig
from diffusers.hooks.sea_cache import _apply_sea_filter

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1] / "benchmarks" / "peers"))
from arms import DB, DB_TAYLOR, FBC, MAG, PAB, TAYLOR, TAYLOR_LITE, Arm, attached, db_options, draw, load  # noqa: E402
from counting import Work  # noqa: E402

STEPS = 28
PROMPTS = (("a red apple", 1), ("a cat face on a blue background", 2))
# what "lite" means by its publication: the last block's output is forecast, the rest of the blocks left out
LAST_BLOCK = {
    "cache_identifiers": [r"single_transformer_blocks\.7"],
    "skip_predict_identifiers": [r"transformer_blocks\.\d+", r"single_transformer_blocks\.[0-6]"],
}
# every attention and MLP output before its gate; a single block's two share the projection proj_out
ALL_MODULES = {
    "cache_identifiers": [
        r"transformer_blocks\.\d+\.(attn|ff|ff_context)",
        r"single_transformer_blocks\.\d+\.proj_out",
    ],
    "skip_predict_identifiers": [r"single_transformer_blocks\.\d+\.(attn|proj_mlp)"],
}
MASK = [int(step in (0, 1, 2, 3, 6, 9, 13, 17, 22, 27)) for step in range(STEPS)]
CASES = {
    "none": None,
    "fbc-0.1": Arm(FBC, {"threshold": 0.1}),
    "fbc-0.25": Arm(FBC, {"threshold": 0.25}),
    "taylor-attention-2": Arm(TAYLOR, {"cache_interval": 2}),
    "taylor-attention-4-order-2": Arm(TAYLOR, {"cache_interval": 4, "max_order": 2}),
    "taylor-modules-2": Arm(TAYLOR, {"cache_interval": 2, **ALL_MODULES}),
    "taylor-modules-3": Arm(TAYLOR, {"cache_interval": 3, **ALL_MODULES}),
    "taylor-last-2": Arm(TAYLOR, {"cache_interval": 2, **LAST_BLOCK}),
    "taylor-last-3-order-2": Arm(TAYLOR, {"cache_interval": 3, "max_order": 2, **LAST_BLOCK}),
    "taylor-lite-2": Arm(TAYLOR_LITE, {"cache_interval": 2}),
    "mag-0.24": Arm(MAG, {"threshold": 0.24, "max_skip_steps": 5, "retention_ratio": 0.1}),
    "mag-0.06": Arm(MAG, {"threshold": 0.06, "max_skip_steps": 3, "retention_ratio": 0.2}),
    "mag-long": Arm(MAG, {"threshold": 9.0, "max_skip_steps": 2, "retention_ratio": 0.1}),
    "pab-4": Arm(PAB, {"spatial_attention_block_skip_range": 4}),
    "db-f1b0": Arm(DB, db_options(1, 0, 4, 0.12, 4)),
    "db-f2b1": Arm(DB, db_options(2, 1, 3, 0.2)),
    "db-f8b0": Arm(DB, db_options(8, 0, 8, 0.15)),
    "db-f6b3-few": Arm(DB, db_options(6, 3, 2, 0.3, 2, max_cached_steps=9)),
    "db-mask": Arm(DB, db_options(1, 0, 4, 0.1, steps_computation_mask=MASK, steps_computation_policy="static")),
    "db-taylor-1": Arm(DB_TAYLOR, db_options(1, 0, 4, 0.2, 4, taylorseer_order=1)),
    "db-taylor-2": Arm(DB_TAYLOR, db_options(2, 1, 5, 0.2, 3, taylorseer_order=2)),
    "db-taylor-early": Arm(DB_TAYLOR, db_options(1, 0, 2, 0.3, taylorseer_order=1)),
}
# two guidance branches, each with a state of its own; two prompts, for which one decision is taken
TOGETHER = {
    "cfg": {"prompt": "a rocket", "seed": 3, "negative_prompt": "", "true_cfg_scale": 2.0},
    "batch": {"prompt": [prompt for prompt, _ in PROMPTS], "seed": 1},
}
TOGETHER_CASES = ("fbc-0.25", "mag-0.24", "taylor-modules-2")


def calibrated(pipe) -> np.ndarray:
    """The ratios that diffusers' MagCache finds on one picture; it prints them."""
    printed = io.StringIO()
    pipe.transformer.enable_cache(MagCacheConfig(calibrate=True, num_inference_steps=STEPS))
    with contextlib.redirect_stdout(printed):
        draw(pipe, PROMPTS[0][0], 0, STEPS)
    pipe.transformer.disable_cache()
    return np.array([float(number) for number in re.findall(r"\d+\.\d+", printed.getvalue())], np.float64)


def main() -> None:
    pipe = load()
    work = Work(pipe)
    result = {"magnitudes": calibrated(pipe)}
    work.clear()
    with attached(pipe, CASES["mag-0.24"], 50), work.watched():
        draw(pipe, *PROMPTS[0], 50)
    result["mag-0.24.50.blocks"] = np.array(work.blocks, np.uint8)
    noise = torch.randn([5, 7, 6], generator=torch.Generator().manual_seed(0))
    result["filter.input"] = noise.numpy()
    for sigma in (1.0, 0.7, 0.2):
        filtered = _apply_sea_filter(noise[None], sigma=sigma, power_exp=2.0)[0]
        result[f"filter.{sigma}"] = filtered.numpy()
    for kind, arguments in TOGETHER.items():
        for name in TOGETHER_CASES:
            work.clear()
            with attached(pipe, CASES[name], STEPS), work.watched():
                result[f"{name}.{kind}.latents"] = draw(pipe, steps=STEPS, **arguments).numpy()
            result[f"{name}.{kind}.attentions"] = np.array(work.attentions, np.uint8)
    for name, arm in CASES.items():  # cache-dit's last: the pipeline is not as before when it has been there
        for i, (prompt, seed) in enumerate(PROMPTS):
            work.clear()
            with attached(pipe, arm, STEPS), work.watched():
                result[f"{name}.{i}.latents"] = draw(pipe, prompt, seed, STEPS).numpy()
            result[f"{name}.{i}.blocks"] = np.array(work.blocks, np.uint8)
            result[f"{name}.{i}.attentions"] = np.array(work.attentions, np.uint8)
            print(f"{name:28}", "".join(f"{n:x}" for n in work.blocks), f"{work.computed():.3f}", flush=True)
    np.savez_compressed(HERE / "peers.npz", **result)


if __name__ == "__main__":
    main()
