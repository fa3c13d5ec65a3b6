"""What is to be drawn: decided and checked in full before a model is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from fastdiffusers.errors import InputError
from fastdiffusers.files import sha256_file
from fastdiffusers_cli.places import shown

if TYPE_CHECKING:
    from fastdiffusers.accelerator import Setting
    from fastdiffusers.models.info import ModelInfo
    from fastdiffusers.plan import Plan

STRENGTH = 0.6  # the pipeline's default, diffusers' too


@dataclass(frozen=True)
class Start:
    """The picture that img2img starts from; its hash goes into the record."""

    path: Path
    sha256: str


@dataclass(frozen=True)
class Picture:
    """One picture: a generation of its own, so that it can be drawn again alone."""

    prompt: str
    seed: int
    path: Path


@dataclass(frozen=True)
class Job:
    """A model, a plan, and the pictures to draw with them.

    ``threads`` and ``mkl`` are passed to `fastdiffusers.environment.prepare`; None leaves its defaults. ``save_plan``
    is where the plan goes once it stands. ``fingerprints`` are those that the accelerators must have, by name.
    """

    info: ModelInfo
    model: str
    plan: Plan
    setting: Setting
    pictures: tuple[Picture, ...]
    dtype: str = "float32"
    negative: str | None = None
    start: Start | None = None
    grid: Path | None = None
    columns: int | None = None
    threads: int | None = None
    mkl: bool | None = None
    save_plan: Path | None = None
    fingerprints: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def open_start(path: Path) -> Start:
    """Hash the picture to start from; raises `InputError` when it is missing or no picture."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as picture:
            picture.load()
    except Image.DecompressionBombError as error:
        raise InputError(f"cannot read --image {shown(path)}: {error}") from None
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "it is not a readable picture"
        raise InputError(f"cannot read --image {shown(path)}: {reason}") from None
    return Start(path, sha256_file(path))
