"""DMD2: distribution matching with a trained critic and backward simulation. Data only, no Paddle."""

from __future__ import annotations

from pathlib import Path

from fastdiffusers.accelerator import AcceleratorSpec, Reference
from fastdiffusers.distillation.distilled import distilled
from fastdiffusers.distillation.method import DistillerSpec
from fastdiffusers.hookspecs import hookimpl

REFERENCES = (
    Reference(
        "Improved Distribution Matching Distillation for Fast Image Synthesis",
        "Tianwei Yin, Michaël Gharbi, Taesung Park, Richard Zhang, Eli Shechtman, Frédo Durand, William T. Freeman",
        2024,
        arxiv="2405.14867",
    ),
    Reference(
        "One-step Diffusion with Distribution Matching Distillation",
        "Tianwei Yin, Michaël Gharbi, Richard Zhang, Eli Shechtman, Frédo Durand, William T. Freeman, Taesung Park",
        2023,
        arxiv="2311.18828",
    ),
)


@hookimpl
def register_accelerators() -> list[AcceleratorSpec]:
    """The adapters that it leaves."""
    summary = "DMD2 adapter, matched to the teacher's distribution: 4 steps, or 2 or 1 with steps="
    return [distilled("dmd2", "dmd2", summary, REFERENCES, unets=True)]


@hookimpl
def register_distillers() -> list[DistillerSpec]:
    """How they are trained."""
    summary = "distribution matching with a trained critic on what the student draws"
    return [DistillerSpec("dmd2", summary, Path(__file__).parent / "recipes", "dmd2", references=REFERENCES)]
