"""Measures of picture quality, one file each. They compute with numpy in float64 and need no Paddle."""

from fastdiffusers.metrics.diversity import pairwise_distance
from fastdiffusers.metrics.frechet import frechet_distance
from fastdiffusers.metrics.ground import ground_colour
from fastdiffusers.metrics.kid import KernelDistance, kernel_distance
from fastdiffusers.metrics.psnr import psnr
from fastdiffusers.metrics.rel_l1 import rel_l1
from fastdiffusers.metrics.retrieval import retrieval
from fastdiffusers.metrics.ssim import ssim

__all__ = [
    "KernelDistance",
    "frechet_distance",
    "ground_colour",
    "kernel_distance",
    "pairwise_distance",
    "psnr",
    "rel_l1",
    "retrieval",
    "ssim",
]
