"""FLUX.1: from a prompt (and perhaps a picture) to pictures, with diffusers' parameters and semantics."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import paddle

from fastdiffusers.context import COND, UNCOND, StepContext
from fastdiffusers.counting import counted
from fastdiffusers.errors import InputError, NumericalError, one_of
from fastdiffusers.models import AutoencoderKL, CLIPTextModel, FluxTransformer2DModel, T5EncoderModel
from fastdiffusers.models.info import ModelInfo
from fastdiffusers.models.tokenizers import CLIPTokenizer, T5Tokenizer
from fastdiffusers.noise import check_seed, picture_noise
from fastdiffusers.pipelines import memory, pixels
from fastdiffusers.pipelines.arguments import check_call, given_latents, is_integer, pictures_of, prompts_of
from fastdiffusers.pipelines.output import Output
from fastdiffusers.schedulers import FlowMatchEulerDiscreteScheduler
from fastdiffusers.weights import load_layer, read_config, save_layer
from fastdiffusers.weights.layout import DTYPES

Callback = Callable[[int, float, paddle.Tensor], None]


class FluxPipeline:
    """FLUX.1 in Paddle. Parts may be replaced; `context` says to accelerators which step of which branch is running."""

    PARTS = ("transformer", "vae", "text_encoder", "text_encoder_2")

    def __init__(
        self,
        transformer: FluxTransformer2DModel,
        vae: AutoencoderKL,
        text_encoder: CLIPTextModel,
        text_encoder_2: T5EncoderModel,
        tokenizer: CLIPTokenizer,
        tokenizer_2: T5Tokenizer,
        scheduler: FlowMatchEulerDiscreteScheduler,
        info: ModelInfo | None = None,
    ) -> None:
        self.transformer = transformer
        self.vae = vae
        self.text_encoder = text_encoder
        self.text_encoder_2 = text_encoder_2
        self.tokenizer = tokenizer
        self.tokenizer_2 = tokenizer_2
        self.scheduler = scheduler
        self.info = info
        self.context = StepContext()

    @classmethod
    def from_pretrained(cls, info: ModelInfo, dtype: str = "float32") -> FluxPipeline:
        """Load from the folder that ``info`` describes, computing in ``dtype``."""
        check_dtype(dtype)
        folder = info.path
        needed = memory.weights_bytes(sum(info.parameters().values()), dtype)
        memory.require(needed, f"loading {info.name} in {dtype}", "use a smaller dtype or a smaller model")
        return cls(
            transformer=load_layer(FluxTransformer2DModel, folder / "transformer", dtype),
            vae=load_layer(AutoencoderKL, folder / "vae", dtype),
            text_encoder=load_layer(CLIPTextModel, folder / "text_encoder", dtype),
            text_encoder_2=load_layer(T5EncoderModel, folder / "text_encoder_2", dtype),
            tokenizer=CLIPTokenizer.from_folder(folder / "tokenizer"),
            tokenizer_2=T5Tokenizer.from_folder(folder / "tokenizer_2"),
            scheduler=FlowMatchEulerDiscreteScheduler.from_config(read_config(folder / "scheduler")),
            info=info,
        )

    def save_pretrained(self, folder: str | Path, dtype: str = "float32") -> None:
        """Write the diffusers directory layout; diffusers' FluxPipeline opens it."""
        from fastdiffusers.pipelines.layout import save_pipeline

        save_pipeline(self, Path(folder), dtype, save_layer)

    @property
    def vae_scale_factor(self) -> int:
        """Pixels per latent cell on a side; pictures have sides that are multiples of twice that."""
        return self.vae.vae_scale_factor

    @property
    def dtype(self) -> Any:
        """Paddle dtype the transformer computes in."""
        return self.transformer.proj_out.weight.dtype

    @paddle.no_grad()
    def __call__(
        self,
        prompt: str | Sequence[str],
        negative_prompt: str | Sequence[str] | None = None,
        true_cfg_scale: float = 1.0,
        height: int | None = None,
        width: int | None = None,
        num_inference_steps: int | None = None,
        sigmas: Sequence[float] | None = None,
        guidance_scale: float = 3.5,
        num_images_per_prompt: int = 1,
        seed: int | None = None,
        latents: Any = None,
        image: Any = None,
        strength: float = 0.6,
        output_type: str = "pil",
        max_sequence_length: int | None = None,
        callback: Callback | None = None,
    ) -> Output:
        """Draw ``num_images_per_prompt`` pictures for each prompt.

        Parameters are those of diffusers' FluxPipeline (and FluxImg2ImgPipeline, when ``image`` is given):
            guidance_scale: what the guidance embedding gets; ignored by models without one (schnell).
            negative_prompt, true_cfg_scale: true classifier-free guidance, active when both are given and the scale is
                above 1; costs a second evaluation per step.
            sigmas: unshifted noise levels in place of ``num_inference_steps`` equal ones.
            seed: picture i starts from the noise that torch's CPU generator draws for seed + i; None draws a seed.
            latents: packed latents [B, S, C] to start from in place of the drawn ones (with ``image`` too, as in
                diffusers: they are taken to be at the first sigma already).
            strength: img2img, the share of the steps that are run, in (0, 1].
            max_sequence_length: number of T5 tokens; None takes the tokenizer's own (512 for FLUX.1; diffusers'
                default is 512 for every model).
            callback: called after every step with (step, sigma, packed latents); raise in it to stop.
        Errors are `InputError`, or `NumericalError` naming the step at which a latent stopped being a number.
        """
        started = time.perf_counter()
        prompts = prompts_of(prompt)
        height, width = self._size(height, width)
        check_call(true_cfg_scale, guidance_scale, num_images_per_prompt, max_sequence_length, output_type)
        batch = len(prompts) * num_images_per_prompt
        first = secrets.randbelow(2**31) if seed is None else check_seed(seed)
        check_seed(first + batch - 1)
        seeds = tuple(first + i for i in range(batch))
        tokens = (height // self.vae_scale_factor // 2) * (width // self.vae_scale_factor // 2)
        self._check_memory(batch, height, width, tokens + (max_sequence_length or self.tokenizer_2.max_length))
        self.scheduler.set_image_timesteps(tokens, self._steps(num_inference_steps, sigmas), sigmas)
        if image is not None:
            self.scheduler.truncate(strength)

        text, pooled, truncated, notes = self._encode(prompts, num_images_per_prompt, max_sequence_length)
        negative = None
        if negative_prompt is not None and true_cfg_scale > 1:
            wanted = prompts_of(negative_prompt)
            if len(wanted) not in (1, len(prompts)):
                raise InputError(
                    f"{len(wanted)} negative prompts for {len(prompts)} prompts; give one, or one for each"
                )
            wanted = wanted * len(prompts) if len(wanted) == 1 else wanted
            negative = self._encode(wanted, num_images_per_prompt, max_sequence_length)
            notes += negative[3]
            negative = negative[:2]
        encoded = time.perf_counter()

        x = self._start(latents, image, seeds, height, width)
        x = self._denoise(x, (text, pooled), negative, true_cfg_scale, guidance_scale, (height, width), callback)
        denoised = time.perf_counter()

        images: Any = x.astype("float32").numpy()
        final = images
        if output_type != "latent":
            cells = pixels.unpack(x, height // self.vae_scale_factor, width // self.vae_scale_factor)
            decoded = self.vae.decode(self.vae.unscale_latents(cells))
            if not paddle.isfinite(decoded).all().item():
                raise NumericalError("the VAE decoded NaN or infinity from finite latents; check its dtype and weights")
            unit = pixels.to_unit_range(decoded)
            images = pixels.to_pil(unit) if output_type == "pil" else unit
        done = time.perf_counter()
        stages = {
            "text": encoded - started,
            "denoise": denoised - encoded,
            "decode": done - denoised,
            "total": done - started,
        }
        return Output(images, final, seeds, stages, truncated, notes)

    def _denoise(
        self,
        x: paddle.Tensor,
        positive: tuple[paddle.Tensor, paddle.Tensor],
        negative: tuple[paddle.Tensor, paddle.Tensor] | None,
        true_cfg_scale: float,
        guidance_scale: float,
        size: tuple[int, int],
        callback: Callback | None,
    ) -> paddle.Tensor:
        """Euler steps over the scheduler's sigmas; ``positive`` and ``negative`` are (T5's sequence, CLIP's vector)."""
        batch = x.shape[0]
        rows, columns = (side // self.vae_scale_factor for side in size)
        text_ids = np.zeros((positive[0].shape[1], 3), np.float32)
        rope = self.transformer.rope(text_ids, pixels.position_ids(rows, columns))
        guidance = None
        if self.transformer.config.guidance_embeds:
            guidance = paddle.full([batch], guidance_scale, dtype="float32").astype(self.dtype)
        self.context.begin(self.scheduler.sigmas, shape=tuple(x.shape), grid=(rows // 2, columns // 2))
        try:
            for step, t in enumerate(self.scheduler.timesteps):
                timestep = (paddle.full([batch], float(t), dtype="float32") / 1000).astype(self.dtype)
                self.context.at(step, COND)
                v = self.transformer(x, *positive, timestep, rope, guidance)
                if negative is not None:
                    self.context.at(step, UNCOND)
                    v_negative = self.transformer(x, *negative, timestep, rope, guidance)
                    v = v_negative + true_cfg_scale * (v - v_negative)
                x = self.scheduler.step(v, step, x)
                if not paddle.isfinite(x).all().item():
                    raise NumericalError(
                        f"the latents have NaN or infinity after step {step + 1} of {self.context.steps} "
                        f"(sigma {self.context.sigma:.4f}); check the dtype and the weights"
                    )
                if callback is not None:
                    callback(step, self.context.sigma, x)
        finally:
            self.context.end()
        return x

    def _encode(
        self, prompts: list[str], copies: int, length: int | None
    ) -> tuple[paddle.Tensor, paddle.Tensor, tuple[str | None, ...], tuple[str, ...]]:
        """T5's sequence [B, T, C] and CLIP's pooled vector [B, C], each prompt ``copies`` times; what was cut off."""
        clip, t5 = self.tokenizer(prompts), self.tokenizer_2(prompts, length)
        text = self.text_encoder_2(paddle.to_tensor(t5.ids)).astype(self.dtype)
        pooled = self.text_encoder(paddle.to_tensor(clip.ids))[1].astype(self.dtype)
        text, pooled = (part.repeat_interleave(copies, axis=0) if copies > 1 else part for part in (text, pooled))
        notes = tuple(
            f"prompt {_short(prompt)!r}: {encoder} reads {tokens.ids.shape[1]} tokens, so {_short(rest)!r} was cut off"
            for encoder, tokens in (("T5", t5), ("CLIP", clip))
            for prompt, rest in zip(prompts, tokens.truncated, strict=True)
            if rest
        )
        return text, pooled, tuple(t5.truncated), notes

    def _start(self, latents: Any, image: Any, seeds: tuple[int, ...], height: int, width: int) -> paddle.Tensor:
        """Packed latents at the first sigma."""
        channels = self.vae.config.latent_channels
        rows, columns = height // self.vae_scale_factor, width // self.vae_scale_factor
        if latents is not None:
            return paddle.to_tensor(given_latents(latents, (len(seeds), rows * columns // 4, channels * 4))).astype(
                self.dtype
            )
        # img2img draws the VAE's posterior from the same stream first, as diffusers does
        draws = picture_noise((1 if image is None else 2, channels, rows, columns), seeds)
        x = paddle.to_tensor(pixels.pack(draws[:, -1])).astype(self.dtype)
        if image is None:
            return x
        clean = []
        for picture, draw in zip(pictures_of(image, len(seeds)), draws, strict=True):
            read = paddle.to_tensor(pixels.read_picture(picture, height, width)).astype(self.dtype)
            sample = self.vae.encode(read).sample(paddle.to_tensor(draw[:1]))
            clean.append(self.vae.scale_latents(sample).astype(self.dtype))
        return self.scheduler.scale_noise(pixels.pack(paddle.concat(clean)), self.scheduler.sigmas[0], x)

    def _size(self, height: int | None, width: int | None) -> tuple[int, int]:
        unit = 2 * self.vae_scale_factor
        side = int(self.vae.config.sample_size or 128 * self.vae_scale_factor)
        sides = [side if value is None else value for value in (height, width)]
        for name, value in zip(("height", "width"), sides, strict=True):
            if not is_integer(value) or value < unit or value % unit:
                raise InputError(f"{name} {value!r} is not valid; it must be a multiple of {unit}, at least {unit}")
        return int(sides[0]), int(sides[1])

    def _steps(self, steps: int | None, sigmas: Sequence[float] | None) -> int | None:
        if sigmas is not None:
            return steps
        return (28 if self.transformer.config.guidance_embeds else 4) if steps is None else steps

    def _check_memory(self, batch: int, height: int, width: int, tokens: int) -> None:
        config = self.transformer.config
        needed = memory.activation_bytes(
            batch,
            height,
            width,
            tokens,
            config.num_attention_heads,
            config.attention_head_dim,
            self.vae.config.block_out_channels[0],
            str(self.dtype).rpartition(".")[2],
        )
        memory.require(
            needed, f"drawing {counted(batch, 'picture')} of {width}x{height}", "draw fewer at once, or smaller ones"
        )


def _short(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:28]} … {text[-28:]}"


def check_dtype(dtype: str) -> None:
    """`InputError` for a dtype that is none or that this device cannot compute in."""
    if dtype not in DTYPES:
        raise InputError(one_of("dtype", dtype, DTYPES))
    if dtype != "float32" and paddle.get_device().startswith("cpu"):
        raise InputError(f"dtype {dtype!r} has no eager kernels on a CPU; valid here: float32")


__all__ = ["FluxPipeline", "check_dtype"]
