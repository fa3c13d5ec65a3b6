"""Draws batches as the pipeline does, on a static graph: the same pictures in half the time on a CPU."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import paddle
from paddle import nn

from fastdiffusers.errors import NumericalError
from fastdiffusers.models import FluxTransformer2DModel
from fastdiffusers.noise import picture_noise
from fastdiffusers.pipelines import pixels
from fastdiffusers.pipelines.flux import FluxPipeline
from fastdiffusers.schedulers import FlowMatchEulerDiscreteScheduler, flow_sigmas, uniform_sigmas

BATCH = 32
DECODE_BATCH = 16


def noise_levels(scheduler: FlowMatchEulerDiscreteScheduler, tokens: int, steps: int, mu: float | None) -> np.ndarray:
    """float32 ``[steps + 1]``: equal steps from 1, shifted by ``mu``; None is the scheduler's rule for ``tokens``."""
    if mu is not None:
        return flow_sigmas(uniform_sigmas(steps).astype(np.float32), mu=mu)  # float32, as the scheduler computes them
    scheduler.set_image_timesteps(tokens, steps)
    return scheduler.sigmas


@paddle.no_grad()
def encode_prompts(pipe: FluxPipeline, prompts: Sequence[str]) -> tuple[np.ndarray, np.ndarray, int]:
    """T5's sequences ``[B, T, C]``, CLIP's pooled vectors ``[B, C]``, float32, and how many prompts T5 cut off."""
    tokens = pipe.tokenizer_2(list(prompts))
    text = pipe.text_encoder_2(paddle.to_tensor(tokens.ids)).astype("float32").numpy()
    pooled = pipe.text_encoder(paddle.to_tensor(pipe.tokenizer(list(prompts)).ids))[1].astype("float32").numpy()
    return text, pooled, sum(rest is not None for rest in tokens.truncated)


class _Velocity(nn.Layer):
    """The transformer with only tensors as arguments."""

    def __init__(self, transformer: FluxTransformer2DModel) -> None:
        super().__init__()
        self.transformer = transformer

    def forward(self, x, text, pooled, sigma, guidance, cos, sin):
        return self.transformer(x, text, pooled, sigma, (cos, sin), guidance)


class Sampler:
    """Many pictures of a `FluxPipeline` at one square size (its own, or ``size`` pixels), without negative prompts.

    The graph is built for ``batch`` pictures at once, at the first call; smaller batches are filled up. With
    ``static=False`` the transformer is called as it is. Text embeddings are kept for every prompt that was seen, until
    `forget_texts`. Accelerators are not known here: no generation begins for
    them, and of what they patch only whole networks are called.
    """

    def __init__(self, pipe: FluxPipeline, batch: int = BATCH, size: int | None = None, static: bool = True) -> None:
        self.pipe = pipe
        self.batch = batch
        self.side = int(size or pipe.vae.config.sample_size) // pipe.vae_scale_factor
        length = pipe.tokenizer_2.max_length
        rope = pipe.transformer.rope(np.zeros((length, 3), np.float32), pixels.position_ids(self.side, self.side))
        heads = pipe.transformer.config.num_attention_heads
        self._rope = [part.expand([batch, -1, heads, -1]).contiguous() for part in rope]
        self._texts: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        # said by Paddle itself whenever a constant is made while a graph is recorded
        warnings.filterwarnings("ignore", message="Tensor do not have 'place' interface", category=UserWarning)
        self._layer = _Velocity(pipe.transformer)  # kept: the graph only refers to it weakly
        self._layer.eval()
        forward = self._layer.forward
        self._velocity: Any = paddle.jit.to_static(forward, full_graph=True) if static else forward

    def __call__(
        self, prompts: Sequence[str], seeds: Sequence[int], steps: int, guidance: float = 3.5, mu: float | None = None
    ) -> np.ndarray:
        """uint8 ``[len(prompts), H, W, 3]``; picture i starts from the noise of ``seeds[i]``."""
        tokens = (self.side // 2) ** 2
        sigmas = noise_levels(self.pipe.scheduler, tokens, steps, mu)
        parts = [
            self.pictures(self.latents(prompts[i : i + self.batch], seeds[i : i + self.batch], sigmas, guidance))
            for i in range(0, len(prompts), self.batch)
        ]
        return np.concatenate(parts)

    def latents(
        self, prompts: Sequence[str], seeds: Sequence[int], sigmas: np.ndarray, guidance: float
    ) -> paddle.Tensor:
        """Packed latents ``[B, tokens, channels]`` of at most ``batch`` pictures, by Euler steps over ``sigmas``."""
        return self.states(prompts, seeds, sigmas, guidance, [len(sigmas) - 1])[0]

    @paddle.no_grad()
    def states(
        self,
        prompts: Sequence[str],
        seeds: Sequence[int],
        sigmas: np.ndarray,
        guidance: float | Sequence[float] | np.ndarray,
        at: Sequence[int],
        embedded: float | None = None,
    ) -> list[paddle.Tensor]:
        """`latents` on the way: those at the levels ``sigmas[i]`` for i in ``at``, which rises (0 is the noise).

        ``guidance`` may be a number for each picture. With ``embedded`` it is the scale of true classifier-free
        guidance against the empty prompt, a second evaluation each step, and the guidance input is told ``embedded``.
        """
        count = len(prompts)
        filled = [*range(count), *[0] * (self.batch - count)]
        noise = picture_noise((self.pipe.vae.config.latent_channels, self.side, self.side), seeds)
        x = paddle.to_tensor(pixels.pack(noise)[filled])
        dtype = self.pipe.dtype  # the latents themselves stay in float32
        text, pooled = (paddle.to_tensor(part[filled]).astype(dtype) for part in self._encode(prompts))
        each = paddle.to_tensor(np.broadcast_to(np.asarray(guidance, dtype=np.float32), [count])[filled])
        told = None
        if self.pipe.transformer.config.guidance_embeds:
            told = (each if embedded is None else paddle.full_like(each, embedded)).astype(dtype)
        if embedded is not None:
            empty = [paddle.to_tensor(part).astype(dtype) for part in self._encode([""] * self.batch)]
            scale = each.reshape([-1, 1, 1])
        kept = [x] if 0 in at else []
        for i, (now, then) in enumerate(itertools.pairwise(sigmas), 1):
            level = paddle.full([self.batch], float(now), dtype="float32").astype(dtype)
            v = self._velocity(x.astype(dtype), text, pooled, level, told, *self._rope).astype("float32")
            if embedded is not None:
                untold = self._velocity(x.astype(dtype), *empty, level, told, *self._rope).astype("float32")
                v = untold + scale * (v - untold)
            x = x + v * float(then - now)
            if i in at:
                kept.append(x)
        if not paddle.isfinite(x[:count]).all().item():
            raise NumericalError(f"the latents have NaN or infinity after {len(sigmas) - 1} steps; check the weights")
        return [state[:count] for state in kept]

    def forget_texts(self) -> None:
        """Free the text embeddings of all prompts so far."""
        self._texts.clear()

    @paddle.no_grad()
    def pictures(self, latents: paddle.Tensor) -> np.ndarray:
        """Packed latents through the VAE: uint8 ``[B, H, W, 3]``, rounded to nearest."""
        parts = []
        for i in range(0, latents.shape[0], DECODE_BATCH):
            cells = pixels.unpack(latents[i : i + DECODE_BATCH], self.side, self.side)
            unit = pixels.to_unit_range(self.pipe.vae.decode(self.pipe.vae.unscale_latents(cells)))
            parts.append((unit * 255).round().astype(np.uint8))
        return np.concatenate(parts)

    def _encode(self, prompts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """T5's sequences ``[B, T, C]`` and CLIP's pooled vectors ``[B, C]``."""
        new = [prompt for prompt in dict.fromkeys(prompts) if prompt not in self._texts]
        if new:
            pipe = self.pipe
            text, pooled, _ = encode_prompts(pipe, new)
            self._texts.update(zip(new, zip(text, pooled, strict=True), strict=True))
        known = [self._texts[prompt] for prompt in prompts]
        return np.stack([text for text, _ in known]), np.stack([pooled for _, pooled in known])
