"""ppdiffusers' model families as data. No Paddle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fastdiffusers.accelerator import Reference, Setting
from fastdiffusers.models.info import ModelInfo
from fastdiffusers.models.parts import FLUX_PARTS, Parts
from fastdiffusers.pipelines.family import PipelineFamily
from fastdiffusers_ppdiffusers.stacks import FLUX_STACK, SD3_STACK
from fastdiffusers_ppdiffusers.structure import is_flux, is_sd3, is_sd15, is_sdxl

_HERE = "fastdiffusers_ppdiffusers"
# spiece.model is T5's vocabulary
_SUFFIXES = frozenset({".safetensors", ".json", ".txt", ".model"})


def _side(denoiser: Mapping[str, Any], vae: Mapping[str, Any], default: int) -> int:
    size = denoiser.get("sample_size")
    size = max(size) if isinstance(size, list | tuple) and size else size
    cells = size if isinstance(size, int) else default
    return cells * 2 ** (len(vae["block_out_channels"]) - 1)


def _sd15_setting(unet: Mapping[str, Any], vae: Mapping[str, Any]) -> Setting:
    side = _side(unet, vae, 64)
    return Setting(steps=50, guidance=7.5, height=side, width=side)


def _sdxl_setting(unet: Mapping[str, Any], vae: Mapping[str, Any]) -> Setting:
    side = _side(unet, vae, 128)
    return Setting(steps=50, guidance=5.0, height=side, width=side)


def _sd3_setting(transformer: Mapping[str, Any], vae: Mapping[str, Any]) -> Setting:
    side = _side(transformer, vae, 128)
    return Setting(steps=28, guidance=7.0, height=side, width=side)


def flow_sigmas(info: ModelInfo, setting: Setting) -> Sequence[float]:
    """SD3's noise levels: equal steps over those of training, shifted (arXiv 2403.03206, eq. 23)."""
    from fastdiffusers.schedulers import FlowMatchEulerDiscreteScheduler

    scheduler = FlowMatchEulerDiscreteScheduler.from_config(info.scheduler())
    scheduler.set_timesteps(setting.steps)
    return scheduler.sigmas[:-1].tolist()


LATENT = Reference(
    title="High-Resolution Image Synthesis with Latent Diffusion Models",
    authors="Robin Rombach and Andreas Blattmann and Dominik Lorenz and Patrick Esser and Björn Ommer",
    year=2022,
    arxiv="2112.10752",
)

SD15 = PipelineFamily(
    name="sd15",
    model_index_class="StableDiffusionPipeline",
    target=f"{_HERE}.sd15:SD15Pipeline",
    features=frozenset({"cfg", "img2img"}),
    references=(LATENT,),
    parts=Parts(
        names=("unet", "vae", "text_encoder", "tokenizer", "scheduler"),
        weighted=("unet", "vae", "text_encoder"),
        setting=_sd15_setting,
        denoiser="unet",
        cell=1,
        suffixes=_SUFFIXES,
    ),
    recognise=is_sd15,
    holder=f"{_HERE}.held:HeldSD15",
    teachers=f"{_HERE}.teachers:UNetTeachers",
)

SDXL = PipelineFamily(
    name="sdxl",
    model_index_class="StableDiffusionXLPipeline",
    target=f"{_HERE}.sdxl:SDXLPipeline",
    features=frozenset({"cfg", "img2img"}),
    references=(
        Reference(
            title="SDXL: Improving Latent Diffusion Models for High-Resolution Image Synthesis",
            authors="Dustin Podell and others",
            year=2023,
            arxiv="2307.01952",
        ),
    ),
    parts=Parts(
        names=("unet", "vae", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2", "scheduler"),
        weighted=("unet", "vae", "text_encoder", "text_encoder_2"),
        setting=_sdxl_setting,
        denoiser="unet",
        cell=1,
        suffixes=_SUFFIXES,
    ),
    recognise=is_sdxl,
    holder=f"{_HERE}.held:HeldSDXL",
    teachers=f"{_HERE}.teachers:UNetTeachers",
)

_SD3_TEXT = ("text_encoder", "text_encoder_2", "text_encoder_3")
SD3 = PipelineFamily(
    name="sd3",
    model_index_class="StableDiffusion3Pipeline",
    target=f"{_HERE}.sd3:SD3Pipeline",
    features=frozenset({"blocks", "cfg", "img2img", "flow"}),
    stack=SD3_STACK,
    sigmas=flow_sigmas,
    references=(
        Reference(
            title="Scaling Rectified Flow Transformers for High-Resolution Image Synthesis",
            authors="Patrick Esser and others",
            year=2024,
            arxiv="2403.03206",
        ),
    ),
    parts=Parts(
        names=("transformer", "vae", *_SD3_TEXT, "tokenizer", "tokenizer_2", "tokenizer_3", "scheduler"),
        weighted=("transformer", "vae", *_SD3_TEXT),
        setting=_sd3_setting,
        optional=frozenset({"text_encoder_3", "tokenizer_3"}),
        suffixes=_SUFFIXES,
    ),
    recognise=is_sd3,
    holder=f"{_HERE}.held:HeldSD3",
)

PPDIFFUSERS_FLUX = PipelineFamily(
    name="ppdiffusers-flux",
    model_index_class="",  # a folder with FLUX is opened by our own pipeline
    target="",
    features=frozenset({"blocks", "guidance", "true_cfg", "flow"}),
    stack=FLUX_STACK,
    parts=FLUX_PARTS,
    recognise=is_flux,
    holder=f"{_HERE}.held:HeldFlux",
)

FAMILIES = (SD15, SDXL, SD3, PPDIFFUSERS_FLUX)
