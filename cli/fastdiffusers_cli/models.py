"""``fastdiff models``: the embedded models, or any folder, described without loading it."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fastdiffusers_cli.output import print_json, print_pairs

if TYPE_CHECKING:
    from fastdiffusers.models.info import ModelInfo


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("models")(models)


def models(
    model: Annotated[
        list[str] | None, typer.Option(help="A folder in diffusers' layout, or an embedded model; may be repeated.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """List the embedded models, or describe a model folder.

    Everything is read from JSON files and safetensors headers; no weights are loaded.
    """
    from fastdiffusers.errors import WeightsError
    from fastdiffusers.models.info import describe
    from fastdiffusers.zoo import EMBEDDED, embedded_path
    from fastdiffusers_cli.asking import choose_model

    missing = []
    described = []
    for name in [choose_model(name, "") for name in model] if model else EMBEDDED:
        folder = embedded_path(name)
        if folder is not None and not folder.is_dir():
            if model:
                raise WeightsError(f"the embedded model {name!r} is not part of this installation ({str(folder)!r})")
            missing.append(name)
        else:
            described.append(describe(name))
    if json:
        print_json({"models": [as_dict(info) for info in described], "missing": missing})
        return
    for position, info in enumerate(described):
        if position:
            print()
        _print_model(info)
    for name in missing:
        print(f"{name}: not part of this installation")


def as_dict(info: ModelInfo) -> dict[str, Any]:
    """What is known of a model, as JSON can hold it; ``size`` is in bytes on disk."""
    return {
        "name": info.name,
        "family": info.family,
        "path": str(info.path),
        "sha256": info.sha256,
        "dtype": info.dtype,
        "features": sorted(info.features),
        "default_setting": asdict(info.default_setting),
        "parameters": info.parameters(),
        "size": _size(info),
        "card": info.card,
    }


def _print_model(info: ModelInfo) -> None:
    parameters, setting = info.parameters(), info.default_setting
    prompts = [str(prompt) for prompt in info.card.get("prompts", [])]
    words = info.card.get("words", [])
    print(f"{info.name} ({info.family})")
    print_pairs(
        [
            ("folder", info.path),
            ("sha256", f"{info.sha256[:12]}… (--json has all of it)"),
            ("weights", f"{_count(sum(parameters.values()))} in {info.dtype}, {_size(info) / 1e6:.1f} MB on disk"),
            *((f"  {part}", _count(number)) for part, number in parameters.items()),
            ("features", info.features),
            ("default", f"{setting.width}x{setting.height}, {setting.steps} steps, guidance {setting.guidance:g}"),
            *([("prompts", "; ".join(prompts[:6]))] if prompts else []),
            *([("limits", str(info.card["limits"]))] if "limits" in info.card else []),
            *([("words", f"{len(words)}; --json lists them")] if words else []),
        ]
    )


def _size(info: ModelInfo) -> int:
    return sum(file.stat().st_size for file in info.path.rglob("*") if file.is_file())


def _count(number: int) -> str:
    for unit, name in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if number >= unit:
            return f"{number / unit:.1f}{name}"
    return str(number)
