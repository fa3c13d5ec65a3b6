"""A pipeline in numpy with the parts that accelerators and sessions rely on, so that their tests need no Paddle."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from fastdiffusers.accelerator import Setting
from fastdiffusers.context import StepContext

WIDTH = 8
SETTING = Setting(steps=10, guidance=3.5, height=16, width=16)


@dataclass(frozen=True)
class FakeInfo:
    """The fields of a ModelInfo."""

    name: str = "fake"
    family: str = "fake"
    path: Path = Path("fake")
    sha256: str = "0" * 64
    features: frozenset[str] = frozenset({"blocks", "true_cfg", "img2img"})
    dtype: str = "float32"
    transformer: dict[str, Any] = field(default_factory=lambda: {"num_layers": 2, "num_single_layers": 4})
    default_setting: Setting = SETTING
    extra: dict[str, Any] = field(default_factory=dict)


class FakeBlock:
    def __init__(self, rng: np.random.Generator) -> None:
        self.weight = (rng.standard_normal((WIDTH, WIDTH)) / 6).astype(np.float32)

    def __call__(self, x: np.ndarray, temb: np.ndarray) -> np.ndarray:
        return x + np.tanh((x + temb) @ self.weight)


class FakeLoop:
    def __call__(self, model: Any, image: Any, text: Any, temb: Any, rope: Any) -> Any:
        for block in model.transformer_blocks:
            image, text = block(image + text.mean(1, keepdims=True), temb), block(text, temb)
        joint = np.concatenate([text, image], axis=1)
        for block in model.single_transformer_blocks:
            joint = block(joint, temb)
        return joint[:, text.shape[1] :]


class FakeTransformer:
    def __init__(self, rng: np.random.Generator) -> None:
        self.transformer_blocks = [FakeBlock(rng) for _ in range(2)]
        self.single_transformer_blocks = [FakeBlock(rng) for _ in range(4)]
        self.block_loop: Any = FakeLoop()

    def forward(self, image: np.ndarray, text: np.ndarray, sigma: float) -> np.ndarray:
        temb = np.full((1, 1, WIDTH), sigma, np.float32)
        return np.asarray(self.block_loop(self, image, text, temb, None), np.float32)

    def __call__(self, *args: Any) -> np.ndarray:
        return self.forward(*args)


class FakeScheduler:
    def __init__(self) -> None:
        self.shift = 1.0
        self.sigmas = np.zeros(0, np.float32)

    def set_timesteps(self, steps: int) -> None:
        sigmas = np.linspace(1, 1 / steps, steps, dtype=np.float32)
        self.sigmas = np.append(self.shift * sigmas / (1 + (self.shift - 1) * sigmas), np.float32(0))


@dataclass
class FakeOutput:
    images: Any
    latents: np.ndarray


class FakePipe:
    def __init__(self, **info: Any) -> None:
        self.info = FakeInfo(**info)
        self.context = StepContext()
        self.scheduler = FakeScheduler()
        self.transformer = FakeTransformer(np.random.default_rng(0))

    def __call__(
        self,
        prompt: str,
        negative_prompt: str | None = None,
        true_cfg_scale: float = 1.0,
        height: int | None = None,
        width: int | None = None,
        num_inference_steps: int = 10,
        num_images_per_prompt: int = 1,
        seed: int = 0,
        image: Any = None,
        strength: float = 0.6,
        output_type: str = "np",
    ) -> FakeOutput:
        tokens = ((height or 16) // 8) * ((width or 16) // 8)
        noise = [np.random.default_rng(seed + i).standard_normal((tokens, WIDTH)) for i in range(num_images_per_prompt)]
        x = np.stack(noise).astype(np.float32)
        self.scheduler.set_timesteps(num_inference_steps)
        sigmas = self.scheduler.sigmas
        if image is not None:
            sigmas = sigmas[num_inference_steps - max(1, int(num_inference_steps * strength)) :]
            x = (1 - sigmas[0]) * np.float32(np.asarray(image).mean() / 255) + sigmas[0] * x
        branches = {"cond": _text(prompt, len(x))}
        if negative_prompt is not None and true_cfg_scale > 1:
            branches["uncond"] = _text(negative_prompt, len(x))
        self.context.begin([float(s) for s in sigmas])
        try:
            for step, (sigma, following) in enumerate(pairwise(sigmas)):
                velocity = {}
                for branch, text in branches.items():
                    self.context.at(step, branch)
                    velocity[branch] = self.transformer(x, text, float(sigma))
                v = velocity["cond"]
                if "uncond" in velocity:
                    v = velocity["uncond"] + np.float32(true_cfg_scale) * (v - velocity["uncond"])
                x = x + (following - sigma) * v
        finally:
            self.context.end()
        return FakeOutput(images=np.tanh(x), latents=x)


def _text(prompt: str, batch: int) -> np.ndarray:
    rng = np.random.default_rng(zlib.crc32(prompt.encode()))
    return np.repeat(rng.standard_normal((1, 3, WIDTH)).astype(np.float32), batch, axis=0)
