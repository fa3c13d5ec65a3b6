"""Model families as data: the name in model_index.json, the class that runs it, what accelerators may rely on.

This module is itself a plugin: it registers FLUX through the same hook as anybody's family.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fastdiffusers.accelerator import Reference, load_target
from fastdiffusers.caching.stack import BlockStack
from fastdiffusers.hookspecs import hookimpl
from fastdiffusers.pipelines.flux_stack import FLUX_STACK


@dataclass(frozen=True)
class PipelineFamily:
    """A family of pipelines that `fastdiffusers.load` can open.

    Attributes:
        name: what records and tables call it.
        model_index_class: the ``_class_name`` in model_index.json that belongs to it.
        target: ``"module:Class"`` of the pipeline, imported only when a model is loaded.
        features: what accelerators may ask for in ``requires``. ``blocks``: ``transformer.block_loop`` can be replaced;
            ``guidance``: guidance is an input of the transformer; ``true_cfg``: a second branch for a negative prompt;
            ``img2img``: starts from a picture; ``flow``: samples by flow matching.
        references: what to cite.
        stack: the transformer's blocks as data, for the caches; None when the family does not describe them.
    """

    name: str
    model_index_class: str
    target: str
    features: frozenset[str] = frozenset()
    references: tuple[Reference, ...] = ()
    stack: BlockStack | None = None

    def load(self) -> Any:
        """Import the pipeline class named by ``target``; a `PluginError` says in one line why that is not possible."""
        return load_target(self.target, object, f"pipeline family {self.name!r}")


FLUX = PipelineFamily(
    name="flux",
    model_index_class="FluxPipeline",
    target="fastdiffusers.pipelines.flux:FluxPipeline",
    features=frozenset({"blocks", "guidance", "true_cfg", "img2img", "flow"}),
    stack=FLUX_STACK,
    references=(
        Reference(
            title="FLUX",
            authors="Black Forest Labs",
            year=2024,
            url="https://github.com/black-forest-labs/flux",
        ),
        Reference(
            title="Scaling Rectified Flow Transformers for High-Resolution Image Synthesis",
            authors="Patrick Esser and others",
            year=2024,
            arxiv="2403.03206",
            note="the sampler's time shift and the joint attention blocks",
        ),
    ),
)


@hookimpl
def register_pipelines() -> list[PipelineFamily]:
    """FLUX.1: double and single blocks, guidance embedding optional per model."""
    return [FLUX]
