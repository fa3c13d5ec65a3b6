"""Measures of picture quality, one file each. They compute with numpy in float64 and need no Paddle."""

from fastdiffusers.metrics.psnr import psnr
from fastdiffusers.metrics.rel_l1 import rel_l1
from fastdiffusers.metrics.ssim import ssim

__all__ = ["psnr", "rel_l1", "ssim"]
