"""Every extension point of fastdiffusers, on one screen.

A plugin is a module (or object) named by an entry point in the group ``fastdiffusers``. It implements any of these
functions under the same name and signature, marked with ``@fastdiffusers.hookimpl``::

    from fastdiffusers.hookspecs import hookimpl

    @hookimpl
    def register_accelerators():
        return [AcceleratorSpec(name="haste", ...)]

The module must import without Paddle: listing plugins does not pay for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    import typer

    from fastdiffusers.accelerator import AcceleratorSpec
    from fastdiffusers.distillation.method import DistillerSpec
    from fastdiffusers.pipelines.family import PipelineFamily

GROUP = "fastdiffusers"
hookspec = pluggy.HookspecMarker(GROUP)
hookimpl = pluggy.HookimplMarker(GROUP)


@hookspec
def register_accelerators() -> list[AcceleratorSpec]:  # type: ignore[empty-body]
    """``register_accelerators() -> list[AcceleratorSpec]``: the accelerators that this plugin offers."""


@hookspec
def register_pipelines() -> list[PipelineFamily]:  # type: ignore[empty-body]
    """``register_pipelines() -> list[PipelineFamily]``: the model families that this plugin can load, as data.

    A family may also recognise pipelines that another library built (`PipelineFamily.recognise` and ``holder``), so
    that `fastdiffusers.accelerate` takes them as they are.
    """


@hookspec
def register_distillers() -> list[DistillerSpec]:  # type: ignore[empty-body]
    """``register_distillers() -> list[DistillerSpec]``: the methods that ``fastdiff distill`` can train, as recipes."""


@hookspec
def register_commands(app: typer.Typer) -> None:
    """``register_commands(app: typer.Typer) -> None``: add commands to ``fastdiff`` (import what they need inside)."""
