"""What the three pipelines have in common: ours around ppdiffusers' own, with diffusers' parameters and seeds.

Text is encoded here, latents are drawn here (torch's numbers for a seed) and decoded here; the loop over the steps is
ppdiffusers'.
"""

from __future__ import annotations

import secrets
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import paddle

from fastdiffusers.context import StepContext
from fastdiffusers.counting import counted
from fastdiffusers.errors import InputError, NumericalError, PlanError
from fastdiffusers.models.info import ModelInfo
from fastdiffusers.models.tokenizers import CLIPTokenizer
from fastdiffusers.noise import check_seed
from fastdiffusers.pipelines import memory, pixels
from fastdiffusers.pipelines.arguments import check_call, is_integer, prompts_of
from fastdiffusers.pipelines.flux import check_dtype
from fastdiffusers.pipelines.output import Output
from fastdiffusers.recorder import Recorder
from fastdiffusers_ppdiffusers.attention_size import attention_size
from fastdiffusers_ppdiffusers.components import load_encoder, load_network, load_scheduler
from fastdiffusers_ppdiffusers.feed import StepFeed
from fastdiffusers_ppdiffusers.grids import latent_grid
from fastdiffusers_ppdiffusers.runtime import load_ppdiffusers
from fastdiffusers_ppdiffusers.start import Start, check_strength, from_noise, from_picture
from fastdiffusers_ppdiffusers.text import Encoded, notes_on

Callback = Callable[[int, float, Any], None]


class StableDiffusion(ABC):
    """A base pipeline.

    Attributes:
        pipe, image_pipe: ppdiffusers' pipelines, which run the steps; they share all parts.
        info, context: as of every pipeline of ours.
    """

    CLASS: str  # of ppdiffusers, for text alone
    IMAGE_CLASS: str  # the one that starts from a picture
    ENCODERS: tuple[str, ...]
    STRENGTH: float

    def __init__(self, pipe: Any, tokenizers: dict[str, Any], info: ModelInfo) -> None:
        self.pipe = pipe
        self.info = info
        self.tokenizers = tokenizers
        self.context = StepContext()
        self.vae = pipe.vae
        pipe.set_progress_bar_config(disable=True)
        recorder = Recorder(pipe, self.context)
        patch = int(info.transformer.get("patch_size") or 1)
        self.feed = StepFeed(pipe, self.denoiser, recorder, lambda arguments: latent_grid(arguments, patch))
        kind = getattr(load_ppdiffusers(), self.IMAGE_CLASS)
        self.image_pipe = kind(**pipe.components | self._more(info) | self._more_for_images())
        self.image_pipe.set_progress_bar_config(disable=True)
        self.feed.watch(self.image_pipe, recorder)

    @classmethod
    def from_pretrained(cls, info: ModelInfo, dtype: str = "float32") -> Any:
        """Load from the folder that ``info`` describes, computing in ``dtype``."""
        library = load_ppdiffusers()
        check_dtype(dtype)
        needed = memory.weights_bytes(sum(info.parameters().values()), dtype)
        memory.require(needed, f"loading {info.name} in {dtype}", "use a smaller dtype or a smaller model")
        denoiser = info.parts.denoiser
        # SDXL's VAE overflows in half precision
        exact = dtype == "float16" and info.vae.get("force_upcast")
        parts: dict[str, Any] = {
            denoiser: load_network(info.path / denoiser, dtype),
            "vae": load_network(info.path / "vae", "float32" if exact else dtype),
        }
        for name in cls.ENCODERS:
            there = (info.path / name).is_dir()
            parts[name] = load_encoder(info.path / name, dtype) if there else None
            parts[name.replace("text_encoder", "tokenizer")] = None  # ours are used
        parts["scheduler"] = load_scheduler(info.path / "scheduler")
        return cls(getattr(library, cls.CLASS)(**parts, **cls._more(info)), cls._tokenizers(info), info)

    @classmethod
    def _more(cls, info: ModelInfo) -> dict[str, Any]:
        """Further arguments of ppdiffusers' class."""
        return {}

    def _more_for_images(self) -> dict[str, Any]:
        """Further arguments of ppdiffusers' class that starts from a picture."""
        return {}

    @classmethod
    def _tokenizers(cls, info: ModelInfo) -> dict[str, Any]:
        names = [name.replace("text_encoder", "tokenizer") for name in cls.ENCODERS]
        return {name: CLIPTokenizer.from_folder(info.path / name) for name in names}

    @property
    def denoiser(self) -> Any:
        """The network that is run at every step, as Paddle's layer."""
        return getattr(self.pipe, self.info.parts.denoiser)

    @property
    def scheduler(self) -> Any:
        """ppdiffusers' scheduler."""
        return self.pipe.scheduler

    @property
    def vae_scale_factor(self) -> int:
        """Pixels per latent cell on a side."""
        return self.info.vae_scale_factor

    @property
    def dtype(self) -> Any:
        """Paddle dtype that the network computes in."""
        return self.denoiser.parameters()[0].dtype

    def draw_in_few_steps(
        self, weights: Path, factor: float, steps: int, recorder: Any, sampler: str, solver_steps: int
    ) -> Any:
        """Draw with the distilled adapter in ``weights``, in ``steps`` steps, until the recorder's detach.

        ``sampler``: ``lcm`` or ``euler``; ``solver_steps``: the levels of its training. `PlanError` for a model whose
        network is no UNet.
        """
        from fastdiffusers_ppdiffusers.few_steps import draw_in_few_steps

        if self.info.parts.denoiser != "unet":
            raise PlanError(f"{self.info.name} has no UNet; distilled adapters here are for SD1.5 and SDXL")
        return draw_in_few_steps(self, weights, factor, steps, recorder, sampler, solver_steps)

    @paddle.no_grad()
    def __call__(
        self,
        prompt: str | Sequence[str],
        negative_prompt: str | Sequence[str] | None = None,
        height: int | None = None,
        width: int | None = None,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        num_images_per_prompt: int = 1,
        seed: int | None = None,
        latents: Any = None,
        image: Any = None,
        strength: float | None = None,
        output_type: str = "pil",
        max_sequence_length: int | None = None,
        callback: Callback | None = None,
    ) -> Output:
        """Draw ``num_images_per_prompt`` pictures for each prompt.

        Parameters, defaults and seeds are those of diffusers' pipeline:
            guidance_scale: classifier-free guidance; both branches run as one batch. 1 and below turn it off.
            negative_prompt: one, or one for each prompt.
            seed: picture i starts from the noise that torch's CPU generator draws for seed + i; None draws a seed.
            latents: [B, C, H/f, W/f] to start from in place of the drawn ones, of variance 1.
            image, strength: a picture to start from (one, or one for each result; resampled to height × width), and the
                share of the steps that are run (0.8, SDXL 0.3, SD3 0.6).
            max_sequence_length: number of T5 tokens, where there is a T5 (256).
            callback: called after every step with (step, sigma, latents).
        ``Output.latents`` are [B, C, H/f, W/f]. Errors are `InputError`, or `NumericalError` for latents that stopped
        being numbers.
        """
        started = time.perf_counter()
        if image is not None and latents is not None:
            raise InputError("image and latents both say where to start; give one of them")
        prompts = prompts_of(prompt)
        guidance = self.info.default_setting.guidance if guidance_scale is None else guidance_scale
        check_call(1.0, guidance, num_images_per_prompt, max_sequence_length, output_type)
        height, width = self._size(height, width)
        steps = self._steps(num_inference_steps)
        share = 1.0 if image is None else check_strength(self.STRENGTH if strength is None else strength, steps)
        batch = len(prompts) * num_images_per_prompt
        first = secrets.randbelow(2**31) if seed is None else check_seed(seed)
        check_seed(first + batch - 1)
        seeds = tuple(first + i for i in range(batch))
        self._check_memory(batch * (2 if guidance > 1 else 1), height, width)

        positive = self._encode(prompts, max_sequence_length)
        negative = None
        notes = notes_on(prompts, positive)
        if guidance > 1:
            negative = self._negative(negative_prompt, positive, len(prompts), max_sequence_length)
            negative = negative.repeated(num_images_per_prompt)
        conditions = self._conditions(positive.repeated(num_images_per_prompt), negative)
        encoded = time.perf_counter()

        shape = (int(self.vae.config.latent_channels), height // self.vae_scale_factor, width // self.vae_scale_factor)
        if image is None:
            start = from_noise(latents, shape, seeds, self.dtype)
        else:
            start = from_picture(image, share, self.vae, (height, width), shape, seeds)
        x = self._denoise(conditions, start, seeds[0], (height, width), steps, guidance, callback)
        denoised = time.perf_counter()

        final = x.astype("float32").numpy()
        images: Any = final
        if output_type != "latent":
            unit = pixels.to_unit_range(self.decode(x))
            if not np.isfinite(unit).all():
                raise NumericalError("the VAE decoded NaN or infinity from finite latents; check its dtype and weights")
            images = pixels.to_pil(unit) if output_type == "pil" else unit
        done = time.perf_counter()
        stages = {
            "text": encoded - started,
            "denoise": denoised - encoded,
            "decode": done - denoised,
            "total": done - started,
        }
        return Output(
            images, final, seeds, stages, tuple(next(iter(cut.values()), None) for cut in positive.cut), notes
        )

    @paddle.no_grad()
    def embed(self, prompts: list[str]) -> Encoded:
        """What the network is told of ``prompts`` in training; of an empty one what guidance goes away from."""
        return self._encode(prompts, None)

    @abstractmethod
    def _encode(self, prompts: list[str], length: int | None) -> Encoded:
        """What the network is told of ``prompts``."""

    @abstractmethod
    def _conditions(self, positive: Encoded, negative: Encoded | None) -> dict[str, Any]:
        """The same as arguments of ppdiffusers' pipeline."""

    def _negative(
        self, prompt: str | Sequence[str] | None, positive: Encoded, count: int, length: int | None
    ) -> Encoded:
        prompts = prompts_of("" if prompt is None else prompt)
        if len(prompts) not in (1, count):
            raise InputError(f"{len(prompts)} negative prompts for {count} prompts; give one, or one for each")
        return self._encode(prompts * count if len(prompts) == 1 else prompts, length)

    def _denoise(
        self,
        conditions: dict[str, Any],
        start: Start,
        seed: int,
        size: tuple[int, int],
        steps: int,
        guidance: float,
        callback: Callback | None,
    ) -> Any:
        def told(pipe: Any, step: int, timestep: Any, values: dict[str, Any]) -> dict[str, Any]:
            if not paddle.isfinite(values["latents"]).all().item():
                raise NumericalError(
                    f"the latents have NaN or infinity after step {step + 1} of {self.context.steps}; check the dtype "
                    "and the weights"
                )
            if callback is not None:
                callback(step, self.context.sigmas[step], values["latents"])
            return {}

        # schedulers that add noise within a step draw it from Paddle's generator, which nobody else should notice
        state = paddle.get_rng_state()
        try:
            paddle.seed(seed % 2**32)
            runner, given = self.pipe, {"latents": start.noise, "height": size[0], "width": size[1]}
            if start.clean is not None:
                runner = self.image_pipe
                runner.prepare_latents = lambda _, timestep, *rest: start.prepared(self.scheduler, timestep)
                given = {"image": paddle.zeros([1, 3, *size]), "strength": start.strength}
            return runner(
                **conditions,
                **given,
                num_inference_steps=steps,
                guidance_scale=guidance,
                output_type="latent",
                callback_on_step_end=told,
            ).images
        finally:
            vars(self.image_pipe).pop("prepare_latents", None)  # it holds the picture
            paddle.set_rng_state(state)

    @paddle.no_grad()
    def decode(self, latents: Any) -> Any:
        """Pictures [B, 3, H, W] in about [−1, 1] of scaled latents."""
        config = self.vae.config
        shift = getattr(config, "shift_factor", None) or 0.0
        cells = (latents / config.scaling_factor + shift).astype(self.vae.parameters()[0].dtype)
        return self.vae.decode(cells, return_dict=False)[0]

    def _size(self, height: int | None, width: int | None) -> tuple[int, int]:
        setting, unit = self.info.default_setting, self.info.unit
        sides = [setting.height if height is None else height, setting.width if width is None else width]
        for name, value in zip(("height", "width"), sides, strict=True):
            if not is_integer(value) or value < unit or value % unit:
                raise InputError(f"{name} {value!r} is not valid; it must be a multiple of {unit}, at least {unit}")
        return int(sides[0]), int(sides[1])

    def _steps(self, steps: int | None) -> int:
        if steps is None:
            return self.info.default_setting.steps
        if not is_integer(steps) or steps < 1:
            raise InputError(f"num_inference_steps {steps!r} is not valid; it must be an integer of at least 1")
        return int(steps)

    def _check_memory(self, batch: int, height: int, width: int) -> None:
        tokens, heads, head_dim = attention_size(self.info.transformer, self.info.tokens(height, width))
        channels = self.info.vae["block_out_channels"][0]
        dtype = str(self.dtype).rpartition(".")[2]
        needed = memory.activation_bytes(batch, height, width, tokens, heads, head_dim, channels, dtype)
        what = f"drawing {counted(batch, 'picture')} of {width}x{height}, guidance's branch counted"
        memory.require(needed, what, "draw fewer at once, or smaller ones")
