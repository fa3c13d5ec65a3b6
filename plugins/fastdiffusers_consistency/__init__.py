"""Consistency distillation: ``pcm`` (phased) and ``lcm`` (one phase, sampled in several).

This module is data only; Paddle is imported when something is trained or attached.
"""

from __future__ import annotations

from pathlib import Path

from fastdiffusers.accelerator import AcceleratorSpec, Reference
from fastdiffusers.distillation.distilled import distilled
from fastdiffusers.distillation.method import DistillerSpec
from fastdiffusers.hookspecs import hookimpl

_RECIPES = Path(__file__).parent / "recipes"

PCM = (
    Reference(
        "Phased Consistency Models",
        "Fu-Yun Wang, Zhaoyang Huang, Alexander William Bergman, Dazhong Shen, Peng Gao, Michael Lingelbach, Keqiang "
        "Sun, Weikang Bian, Guanglu Song, Yu Liu, Xiaogang Wang, Hongsheng Li",
        2024,
        arxiv="2405.18407",
    ),
)
LCM = (
    Reference(
        "Latent Consistency Models: Synthesizing High-Resolution Images with Few-Step Inference",
        "Simian Luo, Yiqin Tan, Longbo Huang, Jian Li, Hang Zhao",
        2023,
        arxiv="2310.04378",
    ),
    Reference(
        "LCM-LoRA: A Universal Stable-Diffusion Acceleration Module",
        "Simian Luo, Yiqin Tan, Suraj Patil, Daniel Gu, Patrick von Platen, Apolinário Passos, Longbo Huang, Jian Li, "
        "Hang Zhao",
        2023,
        arxiv="2311.05556",
    ),
)


@hookimpl
def register_accelerators() -> list[AcceleratorSpec]:
    """The adapters that the methods leave."""
    return [
        distilled("pcm", "pcm", "phased consistency adapter: as many steps as it has phases", PCM, True),
        distilled(
            "lcm", "lcm", "latent consistency adapter: few steps, each to the picture and back to noise", LCM, True
        ),
    ]


@hookimpl
def register_distillers() -> list[DistillerSpec]:
    """How they are trained."""
    return [
        DistillerSpec("pcm", "phased consistency distillation", _RECIPES / "pcm", "pcm", references=PCM),
        DistillerSpec("lcm", "latent consistency distillation", _RECIPES / "lcm", "lcm", references=LCM),
    ]
