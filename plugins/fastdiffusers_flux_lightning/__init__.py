"""FLUX-Lightning: phased consistency with a discriminator, distribution matching and reflow. Data only, no Paddle."""

from __future__ import annotations

from pathlib import Path

from fastdiffusers.accelerator import AcceleratorSpec, Reference
from fastdiffusers.distillation.distilled import distilled
from fastdiffusers.distillation.method import DistillerSpec
from fastdiffusers.hookspecs import hookimpl

REFERENCES = (
    Reference(
        "FLUX-Lightning: distillation of FLUX.1-dev to four steps",
        "PaddleMIX contributors",
        2025,
        url="https://github.com/PaddlePaddle/PaddleMIX",
        note="the loss terms and the training setting; a repository, not a paper",
    ),
    Reference(
        "Phased Consistency Models",
        "Fu-Yun Wang, Zhaoyang Huang, Alexander William Bergman, Dazhong Shen, Peng Gao, Michael Lingelbach, Keqiang "
        "Sun, Weikang Bian, Guanglu Song, Yu Liu, Xiaogang Wang, Hongsheng Li",
        2024,
        arxiv="2405.18407",
    ),
    Reference(
        "Improved Distribution Matching Distillation for Fast Image Synthesis",
        "Tianwei Yin, Michaël Gharbi, Taesung Park, Richard Zhang, Eli Shechtman, Frédo Durand, William T. Freeman",
        2024,
        arxiv="2405.14867",
    ),
)


@hookimpl
def register_accelerators() -> list[AcceleratorSpec]:
    """The adapters that it leaves."""
    summary = "FLUX-Lightning adapter: 4 steps, or 2 or 1 with steps="
    return [distilled("lightning", "flux-lightning", summary, REFERENCES)]


@hookimpl
def register_distillers() -> list[DistillerSpec]:
    """How they are trained."""
    summary = "phased consistency + adversarial + distribution matching + reflow"
    recipes = Path(__file__).parent / "recipes"
    return [DistillerSpec("flux-lightning", summary, recipes, "lightning", references=REFERENCES)]
