"""Caches of other projects on a diffusers FluxPipeline: diffusers' own hooks, and cache-dit's DBCache.

``ARMS`` names each setting that is measured; `attached` puts one on a pipeline and takes it off again. Their published
options are used as they are, but for two: TaylorSeer's factors are kept in float32 (bfloat16 by default), like
everything else here, and MagCache is given the ratios that were calibrated for this model.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

os.environ.setdefault("CACHE_DIT_LOG_LEVEL", "error")  # read when the package is imported

import cache_dit
import numpy as np
import torch
from diffusers import FluxPipeline
from diffusers.hooks import (
    FirstBlockCacheConfig,
    MagCacheConfig,
    PyramidAttentionBroadcastConfig,
    SeaCacheConfig,
    TaylorSeerCacheConfig,
)

ROOT = Path(__file__).resolve().parents[2]
MODEL = ROOT / "fastdiffusers" / "zoo" / "flux_emoji"
MAGNITUDES = MODEL / "calibration" / "magcache.json"


@dataclass(frozen=True)
class Arm:
    """One cache with one setting; ``name`` is the cache's, ``options`` are in the words of its own project."""

    name: str
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def setting(self) -> str:
        """The options in words; cache-dit's in its own shorthand."""
        if "Fn_compute_blocks" not in self.options:
            return ", ".join(f"{key}={value}" for key, value in self.options.items())
        return " ".join(
            f"{letter}{self.options[key]}" for letter, key in SHORTHAND.items() if self.options.get(key, -1) >= 0
        )


SHORTHAND = {
    "F": "Fn_compute_blocks",
    "B": "Bn_compute_blocks",
    "W": "max_warmup_steps",
    "MC": "max_continuous_cached_steps",
    "R": "residual_diff_threshold",
    "O": "taylorseer_order",
}
FBC, TAYLOR, TAYLOR_LITE, MAG, SEA, PAB = (
    f"diffusers {name}" for name in ("FirstBlockCache", "TaylorSeer", "TaylorSeer lite", "MagCache", "SeaCache", "PAB")
)
DB, DB_TAYLOR = "cache-dit DBCache", "cache-dit DBCache + TaylorSeer"


def db_options(first: int, last: int, warmup: int, threshold: float, in_a_row: int = -1, **more: Any) -> dict[str, Any]:
    return {
        "Fn_compute_blocks": first,
        "Bn_compute_blocks": last,
        "max_warmup_steps": warmup,
        "residual_diff_threshold": threshold,
        "max_continuous_cached_steps": in_a_row,
        **more,
    }


ARMS = (
    *(Arm(FBC, {"threshold": t}) for t in (0.05, 0.1, 0.2, 0.3)),
    *(Arm(TAYLOR, {"cache_interval": n}) for n in (2, 3, 5)),
    *(Arm(TAYLOR_LITE, {"cache_interval": n}) for n in (2, 3, 5)),
    *(
        Arm(MAG, {"threshold": t, "max_skip_steps": k, "retention_ratio": r})
        for t, k, r in ((0.06, 3, 0.2), (0.12, 4, 0.2), (0.24, 5, 0.1))
    ),
    *(Arm(SEA, {"threshold": t, "residual_order": 1, "power_exp": 2.0}) for t in (0.1, 0.25, 0.5)),
    *(Arm(PAB, {"spatial_attention_block_skip_range": n}) for n in (2, 4, 6)),
    *(Arm(DB, db_options(8, 0, 8, t)) for t in (0.08, 0.15)),
    *(Arm(DB, db_options(1, 0, 4, t, 4)) for t in (0.08, 0.12, 0.24)),
    *(Arm(DB_TAYLOR, db_options(8, 0, 8, t, taylorseer_order=1)) for t in (0.08, 0.15)),
    *(Arm(DB_TAYLOR, db_options(1, 0, 4, t, 4, taylorseer_order=1)) for t in (0.08, 0.12, 0.24)),
)


def load() -> FluxPipeline:
    """The embedded model in diffusers. cache-dit needs one of its own: it leaves traces that upset diffusers' hooks."""
    pipe = FluxPipeline.from_pretrained(MODEL, torch_dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def draw(
    pipe: FluxPipeline,
    prompt: str | list[str],
    seed: int,
    steps: int,
    guidance: float = 3.5,
    output: str = "latent",
    **more: Any,
) -> Any:
    """Pictures, or their packed latents, from the noise that fastdiffusers draws for the seed (prompt i: seed + i)."""
    side = pipe.vae.config.sample_size
    count = 1 if isinstance(prompt, str) else len(prompt)
    with torch.inference_mode():
        return pipe(
            prompt,
            generator=[torch.Generator("cpu").manual_seed(seed + i) for i in range(count)],
            guidance_scale=guidance,
            height=side,
            width=side,
            num_inference_steps=steps,
            max_sequence_length=pipe.tokenizer_2.model_max_length,
            output_type=output,
            **more,
        ).images


def decode(pipe: FluxPipeline, latents: torch.Tensor) -> Any:
    """The picture [H, W, 3], uint8 as it would be saved."""
    side = pipe.vae.config.sample_size
    with torch.inference_mode():
        unpacked = pipe._unpack_latents(latents, side, side, pipe.vae_scale_factor)
        picture = pipe.vae.decode(unpacked / pipe.vae.config.scaling_factor + pipe.vae.config.shift_factor).sample
    return np.asarray(pipe.image_processor.postprocess(picture, output_type="pil")[0])


def by_cache_dit(arm: Arm | None) -> bool:
    """Whether the arm is cache-dit's."""
    return arm is not None and arm.name in (DB, DB_TAYLOR)


def magnitudes() -> list[float]:
    """γ of the embedded model at each of 28 steps."""
    return json.loads(MAGNITUDES.read_text())["ratios"]


@contextmanager
def attached(pipe: FluxPipeline, arm: Arm | None, steps: int) -> Iterator[None]:
    """The pipeline with ``arm`` on it; None leaves it alone."""
    if arm is None:
        yield
    elif by_cache_dit(arm):
        with _cache_dit(pipe, arm):
            yield
    else:
        with _hooks(pipe, arm, steps):
            yield


@contextmanager
def _cache_dit(pipe: FluxPipeline, arm: Arm) -> Iterator[None]:
    options = dict(arm.options)
    order = options.pop("taylorseer_order", None)
    calibrator = None if order is None else cache_dit.TaylorSeerCalibratorConfig(taylorseer_order=order)
    cache_dit.enable_cache(pipe, cache_config=cache_dit.DBCacheConfig(**options), calibrator_config=calibrator)
    try:
        yield
    finally:
        cache_dit.disable_cache(pipe)


@contextmanager
def _hooks(pipe: FluxPipeline, arm: Arm, steps: int) -> Iterator[None]:
    transformer = pipe.transformer
    config, plain = _config(pipe, arm, steps), transformer.cache_context
    if arm.name == SEA:  # FluxPipeline does not say where in the loop it is, which this hook has to know
        transformer.cache_context = lambda name: plain(
            name,
            step_index=pipe.scheduler.step_index or 0,
            sigma=pipe.scheduler.sigmas[pipe.scheduler.step_index or 0].item(),
            num_inference_steps=steps,
        )
    transformer.enable_cache(config)
    try:
        yield
    finally:
        transformer.disable_cache()
        vars(transformer).pop("cache_context", None)


def _config(pipe: FluxPipeline, arm: Arm, steps: int) -> Any:
    if arm.name == FBC:
        return FirstBlockCacheConfig(**arm.options)
    if arm.name in (TAYLOR, TAYLOR_LITE):
        lite = arm.name == TAYLOR_LITE
        options = {"taylor_factors_dtype": torch.float32, "use_lite_mode": lite, **arm.options}
        return TaylorSeerCacheConfig(**options)
    if arm.name == MAG:
        return MagCacheConfig(num_inference_steps=steps, mag_ratios=magnitudes(), **arm.options)  # 28 ratios
    if arm.name == SEA:
        return SeaCacheConfig(raw_vision_callback=_latents_of, **arm.options)
    return PyramidAttentionBroadcastConfig(current_timestep_callback=lambda: pipe.current_timestep, **arm.options)


def _latents_of(transformer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[torch.Tensor]:
    """The packed latents as one-frame videos [C, 1, rows, columns]: what diffusers' SeaCache filters and compares."""
    packed = kwargs["hidden_states"]
    side = int(packed.shape[1] ** 0.5)
    return [tokens.T.reshape(tokens.shape[1], 1, side, side) for tokens in packed]
