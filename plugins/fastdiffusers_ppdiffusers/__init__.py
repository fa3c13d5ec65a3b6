"""Pipelines of ppdiffusers: Stable Diffusion 1.5, XL and 3 as base pipelines, and those that a user holds already.

This module is data only. ppdiffusers, which changes Paddle for the whole process, is imported when one of its models is
loaded, and never to find out whether a pipeline is one of its own.
"""

from __future__ import annotations

from fastdiffusers.hookspecs import hookimpl
from fastdiffusers.pipelines.family import PipelineFamily
from fastdiffusers_ppdiffusers.families import FAMILIES


@hookimpl
def register_pipelines() -> list[PipelineFamily]:
    """SD1.5, SDXL and SD3; ppdiffusers' FLUX where a user holds one."""
    return list(FAMILIES)
