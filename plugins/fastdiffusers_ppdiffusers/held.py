"""A pipeline of ppdiffusers that the user built, as something accelerators can be attached to."""

from __future__ import annotations

import hashlib
import sys
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from fastdiffusers.errors import PluginError
from fastdiffusers.models.info import ModelInfo
from fastdiffusers.pipelines.family import PipelineFamily
from fastdiffusers.recorder import Recorder
from fastdiffusers_ppdiffusers.blocks import intercept
from fastdiffusers_ppdiffusers.families import FAMILIES
from fastdiffusers_ppdiffusers.feed import StepFeed
from fastdiffusers_ppdiffusers.grids import Grid, latent_grid, packed_grid

TRIED = "0.29.0"


@dataclass(frozen=True)
class HeldInfo(ModelInfo):
    """What is known of a pipeline in memory; there is no folder to read."""

    scheduler_settings: dict[str, Any] = field(default_factory=dict)
    weights: Any = field(default=None, repr=False, compare=False)

    @cached_property
    def sha256(self) -> str:
        """Hash over the weights as they are in memory, of every part; reads all of them."""
        digest = hashlib.sha256()
        for part, layer in self.weights.items():
            for name, tensor in layer.state_dict().items():
                digest.update(f"{part}.{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
                digest.update(np.ascontiguousarray(tensor.numpy()).tobytes())
        return digest.hexdigest()

    def scheduler(self) -> dict[str, Any]:
        """The configuration of the scheduler that the pipeline has."""
        return self.scheduler_settings

    def parameters(self) -> dict[str, int]:
        """Number of weights of each part."""
        return {part: sum(int(p.size) for p in layer.parameters()) for part, layer in self.weights.items()}


class Held:
    """Stands for ``pipe`` in a session.

    Attributes:
        pipe: the user's pipeline.
        context: what accelerators read.
        transformer: the view of its transformer that the cache engine drives.
    """

    family: str
    scale = 1.0
    grid: Grid = staticmethod(latent_grid)

    def __init__(self, pipe: Any, recorder: Recorder) -> None:
        family = next(family for family in FAMILIES if family.name == self.family)
        denoiser = getattr(pipe, family.parts.denoiser)
        self.pipe = pipe
        self.context = recorder.context
        self.info = held_info(pipe, family, self.note())
        self.transformer: Any = denoiser
        if family.stack is not None:
            self.transformer = intercept(denoiser, family.stack, recorder)
        patch = int(self.info.transformer.get("patch_size") or 1)
        StepFeed(pipe, denoiser, recorder, lambda arguments: self.grid(arguments, patch), self.scale)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the user's pipeline."""
        return self.pipe(*args, **kwargs)

    def note(self) -> str:
        """What every record should say: whether this was tried with the version that is there."""
        version = getattr(sys.modules.get("ppdiffusers"), "__version__", TRIED)
        return "" if version == TRIED else f"interface-tested: tried with ppdiffusers {TRIED}, this is {version}"


class HeldSD15(Held):
    """ppdiffusers' StableDiffusionPipeline and its relatives."""

    family = "sd15"


class HeldSDXL(Held):
    """ppdiffusers' StableDiffusionXLPipeline and its relatives."""

    family = "sdxl"


class HeldSD3(Held):
    """ppdiffusers' StableDiffusion3Pipeline and its relatives."""

    family = "sd3"


class HeldFlux(Held):
    """The FluxPipeline of a ppdiffusers newer than the published one, or whatever has its structure."""

    family = "ppdiffusers-flux"
    scale = 1000.0  # FLUX's network takes σ, the scheduler counts in thousandths
    grid = staticmethod(packed_grid)

    def note(self) -> str:
        """No version with FLUX could be tried."""
        return "interface-tested: no published ppdiffusers has a FluxPipeline, this was tried on a stand-in"


def held_info(pipe: Any, family: PipelineFamily, note: str) -> HeldInfo:
    """Describe ``pipe`` from its parts' configurations."""
    parts = {part: getattr(pipe, part, None) for part in family.parts.weighted}
    layers = {part: layer for part, layer in parts.items() if layer is not None}
    denoiser = layers[family.parts.denoiser]
    configuration = _settings(denoiser)
    vae = _settings(layers["vae"]) if "vae" in layers else {"block_out_channels": [0] * 4}
    if not configuration:
        raise PluginError(f"{type(denoiser).__name__} has no config, which says how many blocks there are")
    guided = {"guidance"} if configuration.get("guidance_embeds") else set()
    own = {"guidance", "img2img"}  # what the model decides, and what the user's call does
    name = str(getattr(getattr(pipe, "config", None), "_name_or_path", "") or type(pipe).__name__)
    return HeldInfo(
        name=Path(name).name,
        family=family.name,
        path=Path("held") / Path(name).name,  # not the folder it came from: its weights may be others by now
        features=frozenset(family.features - own | guided),
        dtype=str(denoiser.parameters()[0].dtype).rpartition(".")[2],
        transformer=configuration,
        vae=vae,
        default_setting=family.parts.setting(configuration, vae),
        parts=family.parts,
        note=note,
        scheduler_settings=_settings(pipe.scheduler),
        weights=layers,
    )


def _settings(part: Any) -> dict[str, Any]:
    config = getattr(part, "config", None)
    try:
        return dict(config or {})
    except (TypeError, ValueError):
        return dict(vars(config))
