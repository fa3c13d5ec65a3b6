"""Samplers: how noise levels are chosen and how a latent moves from one to the next."""

from fastdiffusers.schedulers.flow_match_euler import (
    FlowMatchEulerDiscreteScheduler,
    FlowMatchEulerDiscreteSchedulerConfig,
    flow_sigmas,
    uniform_sigmas,
)

__all__ = [
    "FlowMatchEulerDiscreteScheduler",
    "FlowMatchEulerDiscreteSchedulerConfig",
    "flow_sigmas",
    "uniform_sigmas",
]
