"""Model families as data: the name in model_index.json, the class that runs it, what accelerators may rely on.

This module is itself a plugin: it registers FLUX through the same hook as anybody's family.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fastdiffusers.accelerator import Reference, Setting, load_target
from fastdiffusers.caching.stack import BlockStack
from fastdiffusers.compilation.whole import TEXT, VAE, Compilable, WholeNetwork
from fastdiffusers.hookspecs import hookimpl
from fastdiffusers.models.parts import FLUX_PARTS, Parts
from fastdiffusers.pipelines.flux_stack import FLUX_STACK

if TYPE_CHECKING:
    from fastdiffusers.models.info import ModelInfo
    from fastdiffusers.recorder import Recorder


def image_sigmas(info: ModelInfo, setting: Setting) -> Sequence[float]:
    """FLUX's noise levels, all of them, falling, without the terminal 0: shifted by the number of image tokens."""
    from fastdiffusers.schedulers import FlowMatchEulerDiscreteScheduler

    own = FlowMatchEulerDiscreteScheduler.from_config(info.scheduler())
    scheduler = FlowMatchEulerDiscreteScheduler(own.config.shifted(setting.shift))
    scheduler.set_image_timesteps(info.tokens(setting.height, setting.width), setting.steps)
    return scheduler.sigmas[:-1].tolist()


@dataclass(frozen=True)
class PipelineFamily:
    """A family of pipelines that `fastdiffusers.load` can open, or that `fastdiffusers.accelerate` takes as they are.

    Attributes:
        name: what records and tables call it.
        model_index_class: the ``_class_name`` in model_index.json that belongs to it; empty if no folder does.
        target: ``"module:Class"`` of the pipeline, imported only when a model is loaded.
        features: what accelerators may ask for in ``requires``. ``blocks``: ``transformer.block_loop`` can be replaced;
            ``guidance``: guidance is an input of the transformer; ``true_cfg``: a second branch for a negative prompt;
            ``cfg``: guidance is classifier-free, its two branches run as one batch; ``img2img``: starts from a picture;
            ``flow``: samples by flow matching.
        references: what to cite.
        stack: the transformer's blocks as data, for the caches; None when the family does not describe them.
        parts: what a model folder consists of.
        sigmas: ``sigmas(info, setting)``: the noise levels of a run, from which plans foretell.
        recognise: ``recognise(pipe) -> bool`` for a pipeline that somebody else's library built: is it of this family?
            It goes by names and structure and imports nothing. None: only our own pipelines are of the family.
        holder: ``"module:Class"`` called as ``Class(pipe, recorder)`` for such a pipeline. The object stands for it in
            the session: it has ``info`` and ``transformer``, and feeds ``recorder.context``. It changes ``pipe``
            through ``recorder`` only.
        teachers: ``"module:Class"`` of the `fastdiffusers.distillation.teacher_family.TeacherFamily`; empty: models of
            the family cannot be distilled.
        compilable: whole networks that a compiler can run besides the transformer's blocks.
    """

    name: str
    model_index_class: str
    target: str
    features: frozenset[str] = frozenset()
    references: tuple[Reference, ...] = ()
    stack: BlockStack | None = None
    parts: Parts = FLUX_PARTS
    sigmas: Callable[[ModelInfo, Setting], Sequence[float]] = image_sigmas
    recognise: Callable[[Any], bool] | None = None
    holder: str = ""
    teachers: str = ""
    compilable: Compilable = field(default_factory=dict)

    def load(self) -> Any:
        """Import the pipeline class named by ``target``; a `PluginError` says in one line why that is not possible."""
        return load_target(self.target, object, f"pipeline family {self.name!r}")

    def hold(self, pipe: Any, recorder: Recorder) -> Any:
        """The object that stands for ``pipe``, which `recognise` accepted, in a session."""
        return load_target(self.holder, object, f"pipeline family {self.name!r}")(pipe, recorder)


FLUX = PipelineFamily(
    name="flux",
    model_index_class="FluxPipeline",
    target="fastdiffusers.pipelines.flux:FluxPipeline",
    features=frozenset({"blocks", "guidance", "true_cfg", "img2img", "flow"}),
    stack=FLUX_STACK,
    teachers="fastdiffusers.distillation.flux:FluxTeachers",
    compilable={
        VAE: (WholeNetwork("the VAE's decoder", "vae.decoder"),),
        TEXT: (
            WholeNetwork("the CLIP text encoder", "text_encoder", many=True, early=True),
            WholeNetwork("the T5 encoder", "text_encoder_2", early=True),
        ),
    },
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
