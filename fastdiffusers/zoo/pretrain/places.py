"""Where the stages write and where their recipes are. No Paddle."""

from __future__ import annotations

from pathlib import Path

from fastdiffusers.errors import InputError, one_of
from fastdiffusers.files import cache_dir

RECIPES = Path(__file__).parent / "recipes"


def stage_folder(given: str, stage: str) -> Path:
    """The folder of a stage: as given, or where `fastdiff pretrain` puts it by default."""
    return Path(given) if given else cache_dir() / "pretrain" / stage


def trained(given: str, stage: str, part: str) -> Path:
    """The folder ``part`` that an earlier stage wrote; `InputError` if that stage has not finished."""
    folder = stage_folder(given, stage)
    if not (folder / part).is_dir():
        raise InputError(f"no trained {part} in {str(folder)!r}; `fastdiff pretrain {stage}` writes it")
    return folder / part


def recipe_file(name: str) -> Path:
    """A recipe by file or by the name of a shipped one."""
    if name.endswith((".yaml", ".yml")) or "/" in name:
        if not Path(name).is_file():
            raise InputError(f"no recipe file {name!r}")
        return Path(name)
    shipped = {path.stem: path for path in RECIPES.glob("*.yaml")}
    if name not in shipped:
        raise InputError(one_of("recipe", name, shipped))
    return shipped[name]
