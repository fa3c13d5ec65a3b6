"""Adapters by what is in them: a copy beside the kept pictures, so that these are never taken for another's."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

from fastdiffusers.accelerator import Setting
from fastdiffusers.files import sha256_file
from fastdiffusers.models.info import ModelInfo


def pinned(accel: str, info: ModelInfo, setting: Setting, root: Path) -> str:
    """``accel`` with each distilled adapter in a folder below ``root`` that is named by the hash of its files."""
    from fastdiffusers.distillation.adapter import CARD
    from fastdiffusers.distillation.distilled import DistilledConfig, choose
    from fastdiffusers.plan import make_plan, parse
    from fastdiffusers.plugins import registry
    from fastdiffusers.request import Request, format_requests

    requests = parse(accel)
    plan = make_plan(requests, registry(), info, setting)
    plan.check()
    configs = {item.spec.name: item.config for item in plan.items}
    found = []
    for request in requests:
        config = configs.get(request.name)
        if not isinstance(config, DistilledConfig):
            found.append(request)
            continue
        choice = choose(config.method, config, info)  # type: ignore[attr-defined]
        card = choice.weights.parent / CARD
        files = [choice.weights, card] if choice.has_card else [choice.weights]
        place = _kept(files, root)
        target = place if choice.has_card else place / choice.weights.name
        dropped = {"adapter", "steps"} if choice.has_card else {"adapter"}
        options = {name: value for name, value in request.options.items() if name not in dropped}
        found.append(Request(request.name, {**options, "adapter": str(target)}, request.source))
    return format_requests(found)


def _kept(files: list[Path], root: Path) -> Path:
    """A folder with copies of ``files``, whole or not there."""
    digest = hashlib.sha256("".join(sha256_file(file) for file in files).encode()).hexdigest()
    place = root / "adapters" / digest[:16]
    if not place.is_dir():
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=place.parent) as unfinished:
            made = Path(unfinished) / place.name
            made.mkdir()
            for file in files:
                shutil.copy2(file, made / file.name)
            with suppress(OSError):  # another process was quicker
                made.rename(place)
    return place
