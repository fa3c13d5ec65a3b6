"""Checkpoints: a folder that is whole or absent, with everything that a bit-exact continuation needs.

``step-00000500/`` holds ``part-R.safetensors`` (weights, moving average and optimiser states of the parameters that
worker R owns) and ``state.json`` (step, data position, recipe). No pickle anywhere.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import paddle
from safetensors import SafetensorError, safe_open
from safetensors.paddle import save_file

from fastdiffusers.errors import WeightsError

FORMAT = 2
KEYS: dict[str, Any] = {
    "step": int,
    "skipped": int,
    "bad_steps": int,
    "seconds": (int, float),
    "recipe": dict,
    "updates": dict,
}
_NAME = re.compile(r"step-(\d{8})")


def checkpoint_path(folder: Path, step: int) -> Path:
    """Where the checkpoint after ``step`` steps lies."""
    return folder / f"step-{step:08d}"


def checkpoints(folder: Path) -> list[Path]:
    """The complete checkpoints in ``folder``, oldest first."""
    if not folder.is_dir():
        return []
    return sorted(item for item in folder.iterdir() if _NAME.fullmatch(item.name) and (item / "state.json").is_file())


def remove_all(folder: Path) -> None:
    """Remove every checkpoint in ``folder``, finished or not, and nothing else."""
    if folder.is_dir():
        for item in folder.iterdir():
            if _NAME.fullmatch(item.name.removeprefix(".").removesuffix(".tmp")):
                shutil.rmtree(item)


def begin(folder: Path, step: int) -> Path:
    """An empty unfinished folder for a new checkpoint; all workers write their parts into it."""
    unfinished = folder / f".step-{step:08d}.tmp"
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    return unfinished


def unfinished_path(folder: Path, step: int) -> Path:
    """The folder that `begin` made."""
    return folder / f".step-{step:08d}.tmp"


def write_part(unfinished: Path, rank: int, tensors: dict[str, paddle.Tensor]) -> None:
    """One worker's tensors."""
    save_file({name: value.detach() for name, value in tensors.items()}, str(unfinished / f"part-{rank}.safetensors"))


def finish(folder: Path, step: int, state: dict[str, Any], keep: int) -> Path:
    """Add ``state.json``, flush, give the checkpoint its name, and remove all but the newest ``keep``."""
    unfinished, final = unfinished_path(folder, step), checkpoint_path(folder, step)
    (unfinished / "state.json").write_text(json.dumps({"format": FORMAT, **state}, indent=1), encoding="utf-8")
    for file in unfinished.iterdir():
        with open(file, "rb") as stream:
            os.fsync(stream.fileno())
    shutil.rmtree(final, ignore_errors=True)
    os.replace(unfinished, final)
    for old in checkpoints(folder)[:-keep]:
        shutil.rmtree(old)
    return final


def damaged(path: Path, why: object) -> WeightsError:
    """What to raise for a checkpoint that cannot be gone on from."""
    return WeightsError(f"checkpoint {str(path)!r} is damaged ({why}); remove it to go on from an older one")


def read_state(path: Path) -> dict[str, Any]:
    """The parsed ``state.json``, in which every key of `KEYS` is of its type."""
    try:
        state = json.loads((path / "state.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise damaged(path, error) from None
    if not isinstance(state, dict):
        raise damaged(path, "state.json holds no JSON object")
    if state.get("format") != FORMAT:
        raise WeightsError(f"checkpoint {str(path)!r} has format {state.get('format')!r}; this version reads {FORMAT}")
    for name, kind in KEYS.items():
        if not isinstance(state.get(name), kind):
            raise damaged(path, f"state.json has no valid {name!r}")
    return state


def read_tensors(path: Path, prefix: str, names: set[str] | None = None) -> dict[str, paddle.Tensor]:
    """Tensors whose key begins with ``prefix/``, without it; ``names`` limits to those that end in one of them."""
    found = {}
    try:
        for part in sorted(path.glob("part-*.safetensors")):
            with safe_open(str(part), framework="paddle") as reader:
                for key in reader.keys():  # noqa: SIM118 (a reader is no mapping)
                    head, _, name = key.partition("/")
                    if head == prefix and (names is None or name.partition("/")[2] in names or name in names):
                        found[name] = reader.get_tensor(key)
    except (OSError, SafetensorError) as error:
        raise damaged(path, error) from None
    return found


def load_buffers(path: Path, buffers: Mapping[str, paddle.Tensor]) -> None:
    """Set a task's ``buffers`` to what a checkpoint has of them."""
    found = read_tensors(path, "buffer") if buffers else {}
    if missing := sorted(buffers.keys() - found.keys()):
        raise damaged(path, f"{len(missing)} tensors are missing, as 'buffer/{missing[0]}'")
    for name, buffer in buffers.items():
        buffer.set_value(found[name])
